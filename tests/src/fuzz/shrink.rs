//! Makes an input that breaks a rule as small as it can be in reasonable time.

/// The most attempts.
const ATTEMPTS: usize = 2000;

/// Takes away ever smaller parts, as long as what is left still breaks.
pub(super) fn shrink(mut input: Vec<u8>, mut breaks: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut attempts = 0;
    let mut size = input.len() / 2;
    while size > 0 && attempts < ATTEMPTS {
        let mut start = 0;
        while start + size <= input.len() && attempts < ATTEMPTS {
            let without = [&input[..start], &input[start + size..]].concat();
            attempts += 1;
            if breaks(&without) {
                input = without;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    input
}

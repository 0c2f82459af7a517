//! Lists that nearly always have one element: it needs no allocation of its own. There are many of them.

/// None, one or several.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Few<T> {
    One(T),
    /// Not exactly one.
    Several(Box<[T]>),
}

impl<T> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    /// With one more.
    pub(super) fn push(&mut self, more: T) {
        let mut all = std::mem::take(self).into_vec();
        all.push(more);
        *self = all.into();
    }

    /// Without those that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut all = std::mem::take(self).into_vec();
        all.retain(keep);
        *self = all.into();
    }

    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several.into_vec(),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Several(Box::default())
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(all: Vec<T>) -> Self {
        match <[T; 1]>::try_from(all) {
            Ok([one]) => Self::One(one),
            Err(all) => Self::Several(all.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_was_put_into_it_and_one_element_is_always_the_small_form() {
        let mut few = Few::default();
        assert_eq!(few.as_slice(), [0; 0]);
        few.push(1);
        assert_eq!(few, Few::One(1));
        few.push(2);
        few.push(3);
        assert_eq!(few.as_slice(), [1, 2, 3]);
        few.retain(|number| *number == 2);
        assert_eq!(few, Few::from(vec![2]));
        few.retain(|_| false);
        assert_eq!(few, Few::default());
    }
}

//! A report of the profiler as pprof's `perftools.profiles.Profile`. The messages are the part of profile.proto that
//! a CPU profile needs; their field numbers are its own.

use std::collections::HashMap;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::Report;
use prost::Message;

/// The profile: samples of stacks, with all texts in one table.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    /// The first is empty.
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// What a value counts, and in what; both in the string table.
#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

/// A stack and how often it was seen.
#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

/// A place in the program.
#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

/// A function; its texts in the string table.
#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

impl Profile {
    /// The profile of `report`.
    pub(super) fn new(report: &Report) -> Self {
        let stacks = report.data.iter().map(|(stack, count)| {
            let places = stack.frames.iter().flatten().map(|symbol| Place {
                name: symbol.name(),
                system_name: symbol.sys_name().into_owned(),
                filename: symbol.filename().into_owned(),
                line: symbol.lineno(),
            });
            (places.collect(), i64::try_from(*count).unwrap_or(i64::MAX))
        });
        let period = 1_000_000_000 / i64::from(report.timing.frequency.max(1));
        let duration = i64::try_from(report.timing.duration.as_nanos()).unwrap_or(i64::MAX);
        Self::of_stacks(stacks, period, duration)
    }

    /// The profile of `stacks`, each with its count; `period` and `duration` in nanoseconds.
    fn of_stacks(stacks: impl Iterator<Item = (Vec<Place>, i64)>, period: i64, duration: i64) -> Self {
        let mut tables = Tables::default();
        tables.text("");
        let samples = ValueType { kind: tables.text("samples"), unit: tables.text("count") };
        let cpu = ValueType { kind: tables.text("cpu"), unit: tables.text("nanoseconds") };
        let sample = stacks
            .map(|(places, count)| Sample {
                location_id: without_profiler(places).map(|place| tables.location(place)).collect(),
                value: vec![count, count.saturating_mul(period)],
            })
            .collect();
        Self {
            sample_type: vec![samples, cpu],
            sample,
            location: tables.locations,
            function: tables.functions,
            string_table: tables.texts,
            duration_nanos: duration,
            period_type: Some(cpu),
            period,
        }
    }
}

/// A stack without the innermost places that are the profiler's own.
fn without_profiler(places: Vec<Place>) -> impl Iterator<Item = Place> {
    let of_profiler = |place: &Place| {
        let name = place.name.trim_start_matches('<');
        name.starts_with("backtrace::") || name.starts_with("pprof::")
    };
    places.into_iter().skip_while(of_profiler)
}

/// A place as the profiler names it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    name: String,
    system_name: String,
    filename: String,
    line: u32,
}

/// What samples refer to by number, each once.
#[derive(Default)]
struct Tables {
    texts: Vec<String>,
    text_ids: HashMap<String, i64>,
    functions: Vec<Function>,
    function_ids: HashMap<String, u64>,
    locations: Vec<Location>,
    location_ids: HashMap<Place, u64>,
}

impl Tables {
    /// The number of `text`, counted from 0.
    fn text(&mut self, text: &str) -> i64 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.push(text.to_owned());
        self.text_ids.insert(text.to_owned(), id);
        id
    }

    /// The number of the place's function, counted from 1.
    fn function(&mut self, place: &Place) -> u64 {
        if let Some(id) = self.function_ids.get(&place.system_name) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        let (name, system_name) = (self.text(&place.name), self.text(&place.system_name));
        let filename = self.text(&place.filename);
        self.functions.push(Function { id, name, system_name, filename });
        self.function_ids.insert(place.system_name.clone(), id);
        id
    }

    /// The number of the place, counted from 1.
    fn location(&mut self, place: Place) -> u64 {
        if let Some(id) = self.location_ids.get(&place) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let line = Line { function_id: self.function(&place), line: place.line.into() };
        self.locations.push(Location { id, line: vec![line] });
        self.location_ids.insert(place, id);
        id
    }
}

/// The encoded profile in the compressed form that its tools expect.
pub(super) fn gzipped(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&profile.encode_to_vec())?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn place(name: &str, line: u32) -> Place {
        Place { name: name.into(), system_name: format!("_{name}"), filename: "lib.rs".into(), line }
    }

    #[test]
    fn a_profile_names_each_place_once() {
        let stacks = [(vec![place("leaf", 3), place("main", 1)], 2), (vec![place("main", 1)], 5)];
        let profile = Profile::of_stacks(stacks.into_iter(), 10, 1_000);

        let mut bytes = Vec::new();
        GzDecoder::new(gzipped(&profile).unwrap().as_slice()).read_to_end(&mut bytes).unwrap();
        let read = Profile::decode(bytes.as_slice()).unwrap();
        assert_eq!(read, profile);
        assert_eq!(read.string_table[0], "");
        assert_eq!((read.function.len(), read.location.len()), (2, 2));
        let names: Vec<Vec<&str>> = read.sample.iter().map(|sample| names(&read, sample)).collect();
        assert_eq!(names, [vec!["leaf", "main"], vec!["main"]]);
        assert_eq!(read.sample[1].value, [5, 50]);
    }

    #[test]
    fn the_profiler_does_not_show_itself() {
        let own = ["backtrace::trace", "<pprof::Trace as pprof::backtrace::Trace>::trace"].map(|name| place(name, 1));
        let stack = own.into_iter().chain([place("leaf", 3), place("main", 1)]).collect();
        let profile = Profile::of_stacks(std::iter::once((stack, 1)), 10, 1_000);
        assert_eq!(names(&profile, &profile.sample[0]), ["leaf", "main"]);
    }

    fn names<'a>(profile: &'a Profile, sample: &Sample) -> Vec<&'a str> {
        let name = |id: &u64| {
            let location = profile.location.iter().find(|location| location.id == *id)?;
            let function = profile.function.iter().find(|function| function.id == location.line[0].function_id)?;
            profile.string_table.get(usize::try_from(function.name).ok()?)
        };
        sample.location_id.iter().map(|id| name(id).unwrap().as_str()).collect()
    }
}

//! The archive around a pickle, sound and broken.
#![allow(missing_docs)]

mod bytes;
mod checkpoint;

use bytes::entry;
use checkpoint::*;
use weightmill_formats::pickle::{Defect, Header};
use weightmill_formats::{Kind, Result};

/// Entries of a sound checkpoint: pickle, byte order, version, storage.
fn sound_entries() -> Vec<Entry> {
    let pickle = Pickle::new().raw(b"}").text("t").tensor(FLOATS, 0, &[4], &[1]).raw(b"s").end();
    entries(&pickle, &[("0", &[7; 16])])
}

/// What is said of a checkpoint whose storage's entry is changed.
fn with_storage(change: impl FnOnce(&mut Entry)) -> Result<Header> {
    let mut entries = sound_entries();
    change(&mut entries[3]);
    read(&zip(&entries))
}

#[test]
fn zip64_and_data_descriptors_are_read() {
    for change in [|entry: &mut Entry| entry.zip64 = true, |entry: &mut Entry| entry.descriptor = true] {
        let mut entries = sound_entries();
        entries.iter_mut().for_each(change);
        let file = zip(&entries);
        let [tensor] = &read(&file).unwrap().tensors[..] else { panic!("one tensor") };
        assert_eq!(file[tensor.offset as usize..][..tensor.bytes as usize], [7; 16]);
    }
}

#[test]
fn entries_must_be_what_the_directory_says() {
    let result = with_storage(|entry| entry.method = 8);
    let message = assert_placed!(result, Kind::Pickle(Defect::NotStored { how: "compressed" }), entry(STORAGE));
    assert!(message.contains("save it again"), "{message}");
    let result = with_storage(|entry| entry.flags = 1);
    assert_placed!(result, Kind::Pickle(Defect::NotStored { how: "encrypted" }), entry(STORAGE));
    let result = with_storage(|entry| entry.local_name = "model/data/1".to_owned());
    assert_placed!(result, Kind::Pickle(Defect::Entry { what: "its name" }), entry(STORAGE));
    for size in [1 << 20, u64::from(u32::MAX) - 1] {
        let result = with_storage(|entry| entry.claimed = Some(size));
        assert_defect!(result, Kind::Pickle(Defect::Zip { .. }), entry(STORAGE), None);
    }
    for size in [1 << 33, u64::MAX, u64::MAX - 60] {
        let result = with_storage(|entry| (entry.zip64, entry.claimed) = (true, Some(size)));
        assert_defect!(result, Kind::Pickle(Defect::Zip { .. }), entry(STORAGE), None);
    }
}

const STORAGE: &str = "model/data/0";

#[test]
fn archives_that_are_no_checkpoints() {
    let change = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = sound_entries();
        change(&mut entries);
        read(&zip(&entries))
    };
    let result = change(&|entries| drop(entries.remove(0)));
    assert_defect!(result, Kind::Pickle(Defect::NoEntry { name }) if name == "data.pkl", None, None);
    let result = change(&|entries| entries.push(Entry::new("other/data.pkl", b"")));
    assert_placed!(result, Kind::Duplicate, entry("other/data.pkl"));
    let result = change(&|entries| entries.push(Entry::new(STORAGE, b"")));
    assert_placed!(result, Kind::Duplicate, entry(STORAGE));
    let result = change(&|entries| entries[1].bytes = b"big".to_vec());
    let message = assert_defect!(result, Kind::Pickle(Defect::BigEndian), None, None);
    assert!(message.contains("little-endian"), "{message}");
    let result = change(&|entries| entries[1].bytes = b"middle".to_vec());
    assert_defect!(result, Kind::Pickle(Defect::ByteOrder { .. }), None, None);
    // Files of torch before 2.1 do not say.
    assert!(change(&|entries| drop(entries.remove(1))).is_ok());
    let result = change(&|entries| entries.push(Entry::new(&"x".repeat(2000), b"")));
    assert_placed!(result, Kind::TooLong { what: "an entry's name", .. }, None);
}

#[test]
fn an_archive_of_too_many_entries() {
    // The number in the end record has 16 bits; the directory itself is what is read.
    let names: Vec<Entry> = (0..(1 << 18) + 1).map(|n| Entry::new(&n.to_string(), b"")).collect();
    assert_placed!(read(&zip(&names)), Kind::Pickle(Defect::Entries { .. }), None);
}

#[test]
fn every_truncation_of_an_archive_is_an_error() {
    let file = zip(&sound_entries());
    assert!(read(&file).is_ok());
    for length in 0..file.len() {
        assert!(read(&file[..length]).is_err(), "{length}");
    }
}

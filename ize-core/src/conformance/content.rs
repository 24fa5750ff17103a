//! Bytes: what was written is what is read, at every moment.

use bytes::Bytes;

use super::probe::{Probe, ok};
use super::{Fixture, LogBuilder};
use crate::model::{FileId, OpId, View};

const ROOT: FileId = FileId::ROOT;
const LATEST: View = View::main(OpId::MAX);

/// Makes bytes without a short period.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = seed;
    let step = |_| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.to_be_bytes()[0]
    };
    (0..len).map(step).collect()
}

/// Each overwrite leaves the version before it readable.
pub fn every_version_reads_as_it_was(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let mut versions: Vec<(OpId, Vec<u8>)> = vec![(log.head(), Vec::new())];
    for (offset, data) in [(0, "hello world"), (6, "WORLD"), (11, "!"), (0, "J"), (3, "")] {
        let (_, mut content) = versions.last().cloned().expect("there is a first version");
        content.resize(content.len().max(offset + data.len()), 0);
        content[offset..offset + data.len()].copy_from_slice(data.as_bytes());
        versions.push((log.write(file, offset as u64, data.as_bytes()), content));
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (at, content) in versions {
        assert_eq!(store.content(View::main(at), file), content, "content at {at}");
    }
}

/// Reads begin and end anywhere; they are short only at the end of the file, and empty behind it.
pub fn reads_are_short_only_at_the_end(fixture: &mut dyn Fixture) {
    let content = noise(300_000, 1);
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    log.write(file, 0, &content);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    for (offset, len) in [(0, 1), (1, 4095), (4095, 2), (65_535, 131_074), (299_999, 10), (0, 300_000), (123, 299_000)]
    {
        let expected = &content[offset..content.len().min(offset + len)];
        assert_eq!(store.part(LATEST, file, offset as u64, len), expected, "{len} bytes at {offset}");
    }
    assert!(store.part(LATEST, file, 300_000, 10).is_empty());
    assert!(store.part(LATEST, file, u64::MAX - 5, 10).is_empty());
    assert!(store.part(LATEST, file, 5, 0).is_empty());
}

/// What a truncation cut off is zeros when the file grows again, and is there in the past.
pub fn truncated_bytes_do_not_come_back(fixture: &mut dyn Fixture) {
    let content = noise(200_000, 2);
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let full = log.write(file, 0, &content);
    let cut = log.truncate(file, 1_000);
    let grown = log.truncate(file, 150_000);
    let written = log.write(file, 160_000, b"end");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.content(View::main(full), file), content);
    assert_eq!(store.content(View::main(cut), file), &content[..1_000]);
    let mut expected = content[..1_000].to_vec();
    expected.resize(150_000, 0);
    assert_eq!(store.content(View::main(grown), file), expected);
    expected.resize(160_000, 0);
    expected.extend_from_slice(b"end");
    assert_eq!(store.content(View::main(written), file), expected);
}

/// Many small writes into one file, in order and out of order.
pub fn small_writes_add_up(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let mut content = vec![0; 60_000];
    let mut halfway = (OpId::ZERO, Vec::new());
    for step in 0..600usize {
        let offset = (step * 7_919) % 59_900;
        let data = noise(100, step as u64);
        content[offset..offset + 100].copy_from_slice(&data);
        let at = log.write(file, offset as u64, &data);
        if step == 300 {
            halfway = (at, content.clone());
        }
    }
    let size = usize::try_from(log.metadata(file).size).expect("a small size");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.content(LATEST, file), &content[..size]);
    let past = store.content(View::main(halfway.0), file);
    assert_eq!(past, &halfway.1[..past.len()]);
}

/// A copied range is what the source was right before, whatever happens to either file afterwards.
pub fn copies_are_of_their_moment(fixture: &mut dyn Fixture) {
    let content = noise(100_000, 3);
    let mut log = LogBuilder::new();
    let (source, target) = (log.create(ROOT, "source"), log.create(ROOT, "target"));
    log.write(source, 0, &content);
    let copied = log.copy((source, 10_000), (target, 5), 70_000);
    log.write(source, 20_000, b"later");
    let moved = log.copy((target, 0), (target, 80_000), 10);
    log.truncate(source, 0);
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    let mut expected = vec![0; 5];
    expected.extend_from_slice(&content[10_000..80_000]);
    assert_eq!(store.content(View::main(copied), target), expected);
    expected.resize(80_000, 0);
    expected.extend_from_within(0..10);
    assert_eq!(store.content(View::main(moved), target), expected);
    assert_eq!(store.content(LATEST, target), expected);
}

/// The same bytes in several files and at several places are each file's own.
pub fn equal_content_is_not_shared_fate(fixture: &mut dyn Fixture) {
    let content = noise(150_000, 4);
    let mut log = LogBuilder::new();
    let (a, b) = (log.create(ROOT, "a"), log.create(ROOT, "b"));
    log.write(a, 0, &content);
    log.write(b, 0, &content);
    log.write(b, 150_000, &content);
    log.write(a, 70_000, b"changed");
    log.remove(ROOT, "a");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.content(LATEST, b), [content.clone(), content].concat());
}

/// One operation with 8 MiB of data.
pub fn large_data_comes_back(fixture: &mut dyn Fixture) {
    let content = Bytes::from(noise(8 << 20, 5));
    let mut log = LogBuilder::new();
    let file = log.create(ROOT, "a");
    let first = log.write_bytes(file, 0, content.clone());
    log.write(file, 1 << 20, b"patch");
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert!(store.content(View::main(first), file) == content, "8 MiB come back as they were");
    assert_eq!(
        store.part(LATEST, file, (1 << 20) - 1, 7),
        [&content[(1 << 20) - 1..1 << 20], b"patch", &content[(1 << 20) + 5..(1 << 20) + 6]].concat()
    );
}

/// A creation that brings its first content along, as merged ones do.
pub fn a_creation_can_bring_content(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let file = log.create_with(ROOT, "a", b"born with it");
    ok(log.commit(fixture.store()));
    assert_eq!(Probe::new(fixture.store()).content(LATEST, file), b"born with it");
}

/// Folders and special files have nothing to read, whatever their size says.
pub fn only_files_and_symlinks_have_content(fixture: &mut dyn Fixture) {
    let mut log = LogBuilder::new();
    let dir = log.make_dir(ROOT, "dir");
    for touched in &mut log.last_mut().touched {
        touched.metadata.size = 4096; // As hosts report it for folders.
    }
    ok(log.commit(fixture.store()));
    let store = Probe::new(fixture.store());
    assert_eq!(store.node(LATEST, dir).map(|dir| dir.size), Some(4096));
    assert!(store.part(LATEST, dir, 0, 100).is_empty());
    assert!(store.extents(LATEST, dir).is_empty());
}

//! What was appended is what is replayed.

use proptest::prelude::*;

use super::*;

fn data() -> impl Strategy<Value = OpData> {
    prop_oneof![
        2 => Just(OpData::None),
        1 => Just(OpData::Inline(Bytes::new())),
        4 => prop::collection::vec(any::<u8>(), 1..300).prop_map(|bytes| OpData::Inline(bytes.into())),
        1 => (1000usize..20_000).prop_map(|bytes| OpData::Inline(vec![0xa5; bytes].into())),
    ]
}

fn any_op() -> impl Strategy<Value = OpCode> {
    let name = prop::collection::vec(1u8..=255, 1..255).prop_filter_map("no name", |bytes| Name::new(bytes).ok());
    let actor = (any::<u32>(), "[a-z]{0,15}", prop::option::of("[a-z0-9]{8}"));
    (data(), name, actor, any::<i128>(), any::<u64>(), prop::option::of(any::<u64>())).prop_map(
        |(data, name, (pid, program, run), nanos, size, parent)| {
            let entry = Entry::new(FileId::new(size), name);
            let mut op = op(1, 0);
            op.op_type = OpType::ExternalChange(Box::new(OpType::FileDelete { file: FileId::new(size), entry }));
            op.data = data;
            op.timestamp = Timestamp::from_nanos(nanos);
            op.touched[0].metadata.size = size;
            op.actor = Arc::new(Actor { pid, uid: pid, gid: pid, program, run });
            op.landmark = parent.map(|_| Landmark::Replace);
            op.parent = parent.map(OpId::new);
            op
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Op(Box<OpCode>),
    Mark,
    Dirty(FileId),
    Synced(TreeSyncPoint),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any_op().prop_map(|op| Step::Op(Box::new(op))),
        2 => Just(Step::Mark),
        1 => any::<u64>().prop_map(|file| Step::Dirty(FileId::new(file))),
        1 => any::<u64>().prop_map(|n| Step::Synced(TreeSyncPoint { seq: Seq::new(n), op: OpId::new(n / 2) })),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replay_answers_what_was_appended_across_reopening(steps in steps(), first in 1u64..1000) {
        let medium = MemoryMedium::new();
        let mut journal = open(&medium).unwrap();
        let (mut appended, mut id) = (vec![], first);
        for step in steps {
            match step {
                Step::Op(mut op) => {
                    op.id = OpId::new(id);
                    op.last_id = op.id;
                    let seq = journal.append_op(&op).unwrap();
                    prop_assert_eq!(seq.get(), appended.len() as u64 + 1);
                    appended.push(Record::Op(*op));
                    id += 1;
                }
                Step::Mark => {
                    let op = OpId::new(id - 1);
                    journal.append_mark(op, Landmark::Idle).unwrap();
                    appended.push(Record::Mark { op, landmark: Landmark::Idle });
                }
                Step::Dirty(file) => {
                    journal.append_dirty(file, OpId::new(id)).unwrap();
                    appended.push(Record::Dirty { file });
                }
                Step::Synced(through) => {
                    journal.append_synced(through, OpId::new(id)).unwrap();
                    appended.push(Record::Synced(through));
                }
                Step::Reopen => journal = open(&medium).unwrap(),
            }
        }
        prop_assert_eq!(records(&open(&medium).unwrap()), appended);
    }
}

#[test]
fn what_is_no_single_operation_with_its_data_is_refused_and_harmless() {
    let medium = MemoryMedium::new();
    let mut journal = open(&medium).unwrap();
    let mut reference = op(1, 5);
    reference.data = OpData::Reference { hash: crate::model::ContentHash::of(b"x"), size: 1 };
    assert!(matches!(journal.append_op(&reference), Err(JournalError::Invalid(_))));
    let merged = OpCode { last_id: OpId::new(2), ..op(1, 5) };
    assert!(matches!(journal.append_op(&merged), Err(JournalError::Invalid(_))));
    assert!(matches!(journal.append_op(&op(1, 40_000)), Err(JournalError::TooLarge { .. })));
    let mut wordy = op(1, 5);
    wordy.actor = Arc::new(Actor { program: "x".repeat(2 << 20), ..Actor::default() });
    assert!(matches!(journal.append_op(&wordy), Err(JournalError::Invalid(_) | JournalError::TooLarge { .. })));
    journal.append_op(&op(1, 5)).unwrap();
    assert_eq!(records(&open(&medium).unwrap()), [Record::Op(op(1, 5))]);
}

#[test]
fn the_first_format_can_still_be_read() {
    let segment = include_bytes!("../../../tests/fixtures/journal-v1.seg").to_vec();
    let journal = open(&MemoryMedium::of([(1, segment)])).unwrap();
    let mark = Record::Mark { op: OpId::new(2), landmark: Landmark::Close };
    assert_eq!(records(&journal), [Record::Op(op(1, 0)), Record::Op(op(2, 11)), mark, Record::Op(op(3, 0))]);
}

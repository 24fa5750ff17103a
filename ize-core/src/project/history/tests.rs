use super::super::script::{Script, path};
use super::*;
use crate::model::{BranchId, Landmark};

/// Writes each row as `kind path`, `kind from -> path`, with its ids, newest first.
fn rows(script: &Script, query: HistoryQuery) -> Vec<String> {
    let show = |row: HistoryRow| {
        let ids = if row.op == row.last_op { row.op.to_string() } else { format!("{}..{}", row.op, row.last_op) };
        match row.from {
            Some(from) => format!("{} {from} -> {} {ids}", row.kind, row.path),
            None => format!("{} {} {ids}", row.kind, row.path),
        }
    };
    script.reader().history(query).unwrap().map(|row| show(row.unwrap())).collect()
}

fn saves(script: &Script, of: &str) -> Vec<String> {
    rows(script, HistoryQuery::new(path(of)))
}

fn ops(script: &Script, of: &str) -> Vec<String> {
    rows(script, HistoryQuery { ops: true, ..HistoryQuery::new(path(of)) })
}

#[test]
fn a_new_file_with_its_first_content_is_one_row() {
    let mut script = Script::new();
    script.create("a");
    script.write("a", 0, "hello");
    script.write("a", 5, " world");
    script.mark(Landmark::Close);
    assert_eq!(saves(&script, "."), ["create a @1..@3"]);
    assert_eq!(saves(&script, "a"), ["create a @1..@3"]);
    let row = script.reader().history(HistoryQuery::new(path("a"))).unwrap().next().unwrap().unwrap();
    assert_eq!(row.size, Some(11));
    assert_eq!(row.change, script.reader().change_id(OpId::new(3)));
    assert_eq!(row.message, "Write { offset: 5, size: 6 }: a");
    assert_eq!(ops(&script, "a"), ["write a @3", "write a @2", "create a @1"]);
}

#[test]
fn each_save_of_an_open_file_is_a_row() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.truncate("a", 0);
    script.write("a", 0, "two");
    script.mark(Landmark::Close);
    script.truncate("a", 0);
    script.mark(Landmark::Close);
    script.write("a", 0, "not closed yet");
    assert_eq!(saves(&script, "a"), ["write a @6", "truncate a @5", "write a @3..@4", "create a @1..@2"]);
}

#[test]
fn a_file_that_was_touched_and_later_written_by_somebody_else_has_two_rows() {
    let mut script = Script::new();
    script.by(1, "touch");
    script.create("a");
    script.by(2, "sh");
    script.write("a", 0, "x");
    script.mark(Landmark::Close);
    assert_eq!(saves(&script, "a"), ["write a @2", "create a @1"]);
}

#[test]
fn fsync_and_close_after_it_are_one_save() {
    let mut script = Script::new();
    script.create("a");
    script.write("a", 0, "x");
    script.mark(Landmark::Close);
    script.mark(Landmark::Sync);
    script.mark(Landmark::Barrier);
    assert_eq!(saves(&script, "a"), ["create a @1..@2"]);
}

#[test]
fn an_editors_safe_save_is_one_row_of_the_file_that_was_replaced() {
    let mut script = Script::new();
    script.save_new("a.txt", "one");
    script.by(9, "vim");
    for content in ["two", "three"] {
        script.create(".a.txt.tmp");
        script.chmod(".a.txt.tmp", 0o600);
        script.write(".a.txt.tmp", 0, content);
        script.mark(Landmark::Sync);
        script.rename(".a.txt.tmp", "a.txt");
    }
    let expected = ["write a.txt @7..@10", "write a.txt @3..@6", "create a.txt @1..@2"];
    assert_eq!(saves(&script, "a.txt"), expected);
    assert_eq!(saves(&script, "."), expected);
    let row = script.reader().history(HistoryQuery::new(path("a.txt"))).unwrap().next().unwrap().unwrap();
    assert_eq!((row.size, row.from), (Some(5), None));
}

#[test]
fn a_backup_rename_save_is_a_rename_and_a_creation() {
    let mut script = Script::new();
    script.save_new("a.txt", "one");
    script.rename("a.txt", "a.txt~");
    script.save_new("a.txt", "two");
    assert_eq!(saves(&script, "a.txt"), ["create a.txt @4..@5", "rename a.txt -> a.txt~ @3", "create a.txt @1..@2"]);
    assert_eq!(saves(&script, "a.txt~"), ["rename a.txt -> a.txt~ @3", "create a.txt @1..@2"]);
}

#[test]
fn renaming_somebody_elses_file_over_another_is_a_rename() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.save_new("b", "two");
    script.by(5, "mv");
    script.rename("b", "a");
    assert_eq!(saves(&script, "a"), ["rename b -> a @5", "create b @3..@4", "create a @1..@2"]);
    assert_eq!(saves(&script, "b"), ["rename b -> a @5", "create b @3..@4"]);
}

#[test]
fn a_temporary_file_that_becomes_a_new_one_is_a_creation() {
    let mut script = Script::new();
    script.save_new(".a.txt.X1y2Z3", "one");
    script.rename(".a.txt.X1y2Z3", "a.txt");
    assert_eq!(saves(&script, "a.txt"), ["create a.txt @1..@3"]);
    script.save_new("draft", "one");
    script.rename("draft", "final");
    assert_eq!(saves(&script, "final"), ["rename draft -> final @6", "create draft @4..@5"]);
}

/// Operations are read page by page, of each file by itself.
#[test]
fn what_happened_to_a_file_while_the_one_that_replaced_it_was_elsewhere_is_all_there() {
    for count in 1..20 {
        let mut script = Script::new();
        script.create("a");
        script.create("b");
        for at in 0..count {
            script.write("a", at, "x");
            script.mark(Landmark::Close);
        }
        script.rename("b", "a");
        for at in 0..count {
            script.write("a", at, "y");
            script.mark(Landmark::Close);
        }
        assert_eq!(ops(&script, "a").len() as u64, 2 * count + 3, "{count}");
    }
}

#[test]
fn history_follows_a_chain_of_renames_and_what_was_replaced_on_the_way() {
    let mut script = Script::new();
    script.save_new("a", "0");
    script.save_new("a.tmp", "1");
    script.rename("a.tmp", "a");
    script.by(3, "mv");
    script.rename("a", "b");
    script.rename("b", "c");
    assert_eq!(saves(&script, "c"), ["rename b -> c @7", "rename a -> b @6", "write a @3..@5", "create a @1..@2"]);
}

#[test]
fn a_path_that_was_deleted_and_made_again_has_both_lives() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.delete("a");
    assert_eq!(saves(&script, "a"), ["delete a @3", "create a @1..@2"]);
    script.save_new("b", "other");
    script.save_new("a", "two");
    script.delete("a");
    assert_eq!(saves(&script, "a"), ["delete a @8", "create a @6..@7", "delete a @3", "create a @1..@2"]);
    let row = script.reader().history(HistoryQuery::new(path("a"))).unwrap().next().unwrap().unwrap();
    assert_eq!(row.size, None);
}

#[test]
fn a_folder_that_was_deleted_and_made_again_has_the_files_of_both_lives() {
    let mut script = Script::new();
    for content in ["one", "two"] {
        script.mkdir("d");
        script.save_new("d/a", content);
        script.delete("d/a");
        script.delete("d");
    }
    assert_eq!(saves(&script, "d/a"), ["delete d/a @9", "create d/a @7..@8", "delete d/a @4", "create d/a @2..@3"]);
    assert_eq!(saves(&script, "d").len(), 8);
}

#[test]
fn the_past_of_a_file_in_a_renamed_folder_is_found_under_its_new_path() {
    let mut script = Script::new();
    script.mkdir("old");
    script.save_new("old/a", "one");
    script.save_new("old/.a.tmp", "two");
    script.rename("old/.a.tmp", "old/a");
    script.rename("old", "new");
    assert_eq!(saves(&script, "new/a"), ["write old/a @4..@6", "create old/a @2..@3"]);
    assert_eq!(saves(&script, "old/a"), ["write old/a @4..@6", "create old/a @2..@3"]);
    script.truncate("new/a", 0);
    assert_eq!(saves(&script, "new/a")[0], "truncate new/a @8");
    assert_eq!(saves(&script, "old/a").len(), 2, "what happened later happened elsewhere");
}

#[test]
fn a_folders_history_is_that_of_all_that_was_or_is_in_it() {
    let mut script = Script::new();
    script.mkdir("d");
    script.mkdir("d/sub");
    script.save_new("d/sub/a", "a"); // 3, 4
    script.save_new("outside", "o"); // 5, 6
    script.save_new("later", "l"); // 7, 8
    script.rename("later", "d/later");
    script.rename("d/sub/a", "gone");
    script.truncate("gone", 0);
    assert_eq!(
        saves(&script, "d"),
        [
            "rename d/sub/a -> gone @10",
            "rename later -> d/later @9",
            "create later @7..@8",
            "create d/sub/a @3..@4",
            "mkdir d/sub @2",
            "mkdir d @1",
        ]
    );
    script.rename("d", "e");
    assert_eq!(saves(&script, "e")[0], "rename d -> e @12");
    assert_eq!(saves(&script, "e").len(), 7);
    assert_eq!(saves(&script, "e/sub"), ["rename d/sub/a -> gone @10", "create d/sub/a @3..@4", "mkdir d/sub @2"]);
}

#[test]
fn a_hard_link_shows_the_path_that_was_asked_about() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.link("a", "b");
    script.truncate("a", 0);
    assert_eq!(saves(&script, "b"), ["truncate b @4", "link b @3", "create a @1..@2"]);
    assert_eq!(saves(&script, "a"), ["truncate a @4", "link b @3", "create a @1..@2"]);
    script.delete("b");
    script.chmod("a", 0o600);
    assert_eq!(saves(&script, "b")[0], "delete b @5");
}

#[test]
fn exchanged_files_keep_their_own_pasts_and_the_paths() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.save_new("b", "two");
    script.exchange("a", "b");
    assert_eq!(saves(&script, "a"), ["exchange a -> b @5", "create b @3..@4", "create a @1..@2"]);
}

#[test]
fn saves_of_several_files_at_once_do_not_mix() {
    let mut script = Script::new();
    script.create("a");
    script.create("b");
    script.write("a", 0, "1");
    script.write("b", 0, "1");
    script.write("a", 1, "2");
    script.mark(Landmark::Close);
    script.write("b", 1, "2");
    script.mark(Landmark::Close);
    script.by(77, "chmod");
    script.chmod("a", 0o600);
    assert_eq!(saves(&script, "."), ["chmod a @7", "create b @2..@6", "create a @1..@5"]);
}

#[test]
fn a_mode_that_the_writing_process_sets_belongs_to_its_save() {
    let mut script = Script::new();
    script.by(5, "tar");
    script.create("a");
    script.write("a", 0, "1");
    script.mark(Landmark::Close);
    script.chmod("a", 0o600);
    assert_eq!(saves(&script, "."), ["create a @1..@3"]);
}

#[test]
fn what_was_found_is_marked_and_grouped() {
    let mut script = Script::new();
    script.save_new("a", "one");
    script.external = true;
    script.truncate("a", 0);
    script.write("a", 0, "edited");
    script.chmod("a", 0o600);
    script.mark(Landmark::Barrier);
    script.external = false;
    assert_eq!(saves(&script, "a"), ["external-write a @3..@5", "create a @1..@2"]);
}

#[test]
fn an_edit_that_was_found_right_after_the_file_was_copied_in_is_a_row_of_its_own() {
    for is_merged in [false, true] {
        let mut script = Script::new();
        script.by(1, "ize");
        let last = if is_merged { script.create_with("a", "one") } else { script.save_new("a", "one") };
        script.external = true;
        script.write("a", 0, "edited");
        script.chmod("a", 0o600);
        script.mark(Landmark::Close);
        let created = if is_merged { format!("create a {last}") } else { format!("create a @1..{last}") };
        let edit = format!("external-write a {}..{}", last.next(), last.next().next());
        assert_eq!(saves(&script, "a"), [edit, created]);
    }
}

#[test]
fn what_a_restore_does_to_a_file_is_one_row() {
    let mut script = Script::new();
    script.save_new("a", "one"); // 1, 2
    script.by(7, "ize");
    for round in ["two", "three"] {
        script.truncate("a", 0);
        script.write("a", 0, round);
        script.mark(Landmark::Close);
        script.chmod("a", 0o600);
        script.chmod("a", 0o644);
    }
    script.create("b"); // 11
    script.write("b", 0, "new");
    script.mark(Landmark::Close);
    script.chmod("b", 0o600);
    assert_eq!(saves(&script, "."), ["create b @11..@13", "write a @7..@10", "write a @3..@6", "create a @1..@2"]);
}

#[test]
fn since_until_and_limit_bound_the_rows() {
    let mut script = Script::new();
    for name in ["a", "b", "c"] {
        script.save_new(name, name);
    }
    let all = HistoryQuery::new(RelPath::root());
    let since = HistoryQuery { since: Some(OpId::new(2)), ..all.clone() };
    assert_eq!(rows(&script, since), ["create c @5..@6", "create b @3..@4"]);
    let until = View::new(BranchId::MAIN, OpId::new(4));
    let until = HistoryQuery { until: Some(until), ..all.clone() };
    assert_eq!(rows(&script, until), ["create b @3..@4", "create a @1..@2"]);
    let limit = HistoryQuery { limit: Some(1), ..all };
    assert_eq!(rows(&script, limit), ["create c @5..@6"]);
}

#[test]
fn long_histories_are_paged() {
    let mut script = Script::new();
    script.mkdir("d");
    script.create("d/a");
    for round in 0..400 {
        script.truncate("d/a", 0);
        script.write("d/a", 0, &round.to_string());
        script.mark(Landmark::Close);
    }
    for of in [".", "d"] {
        assert_eq!(saves(&script, of).len(), 401, "{of}");
    }
    assert_eq!(saves(&script, "d/a").len(), 400);
    assert_eq!(ops(&script, "d/a").len(), 801);
}

#[test]
fn many_safe_saves_are_paged() {
    let mut script = Script::new();
    script.save_new("a", "0");
    for round in 1..200 {
        script.save_new("a.tmp", &round.to_string());
        script.rename("a.tmp", "a");
    }
    let rows = saves(&script, "a");
    assert_eq!(rows.len(), 200);
    assert_eq!(rows[0], "write a @597..@599");
    assert_eq!(rows[199], "create a @1..@2");
    assert_eq!(saves(&script, "."), rows);
}

#[test]
fn a_path_that_never_was_is_an_error() {
    let mut script = Script::new();
    script.save_new("a", "one");
    for missing in ["b", "a/b", "x/y"] {
        let error = script.reader().history(HistoryQuery::new(path(missing))).unwrap_err();
        assert!(matches!(error, ProjectError::NotFound { .. }), "{error:?}");
    }
}

#[test]
fn an_empty_project_has_an_empty_history() {
    assert!(saves(&Script::new(), ".").is_empty());
}

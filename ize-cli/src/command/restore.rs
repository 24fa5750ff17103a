//! `ize restore`.

use std::path::Path;

use ize_core::model::{RelPath, View};
use ize_core::project::{ProjectError, Reader, RestoredPath};
use ize_core::tree::{CopyOptions, CopyReport, Snapshot, export};

use super::open;
use crate::arguments::Restore;
use crate::context::{Context, Target};
use crate::failure::{Failure, Kind, Result};
use crate::output::{human, note, say, stdout};

pub(super) fn run(context: &Context, arguments: &Restore) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let path = target.path(&context.environment, &arguments.path)?;
    match &arguments.to {
        Some(dest) => copy_out(context, &target, &path, arguments, dest),
        None => put_back(context, &target, &path, arguments),
    }
}

fn put_back(context: &Context, target: &Target, path: &RelPath, arguments: &Restore) -> Result<()> {
    let (mut changes, mut listing) = (0_u64, stdout());
    let mut each = |restored: RestoredPath| {
        changes += u64::from(restored.is_change);
        if arguments.dry_run {
            // Whoever reads the list may have seen enough; the restore does not depend on it.
            let _ = listing.line(format_args!("{}: {}", restored.path, restored.what));
        } else if !restored.is_change {
            note(format_args!("note: {}: {}", restored.path, restored.what));
        }
    };
    let done = open::restore(context, target, path, arguments, &mut each)?;
    listing.flush()?;
    let (name, ize) = (target.name(), &context.environment.command);
    let what = if path.is_root() { "everything".to_owned() } else { format!("'{path}'") };
    let changed = human::counted(changes, "change");
    if changes == 0 {
        return say(format_args!("{what} is as it was at {}: nothing to do", done.moment));
    }
    if arguments.dry_run {
        note(format_args!("{changed} would bring back {what} as of {}; nothing was changed", done.moment));
        return Ok(());
    }
    say(format_args!("{what} is as it was at {}: {changed}", done.moment))?;
    note(format_args!("to undo this:  {ize} restore {name} {} {}", quoted(&done.undo_path.to_string()), done.before));
    Ok(())
}

/// Quotes a word for a shell, where it needs that.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,:@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn copy_out(context: &Context, target: &Target, path: &RelPath, arguments: &Restore, dest: &Path) -> Result<()> {
    let dest = context.environment.absolute(dest)?;
    refuse_inside(target, &dest)?;
    let opened = open::reading(context, target)?;
    let reader = opened.reader();
    let view = open::resolve(reader, &arguments.change)?;
    let report = copy(reader, view, path, &dest)?;
    for (place, omission) in &report.omitted {
        note(format_args!("warning: {place}: {omission}"));
    }
    say(format_args!(
        "{path} as of {} is in {}: {}, {}",
        view.at,
        context.environment.shorten(&dest),
        human::counted(report.entries(), "entry").replace("entrys", "entries"),
        human::size(report.bytes)
    ))?;
    match report.omitted.iter().filter(|(_, omission)| omission.is_loss()).count() as u64 {
        0 => Ok(()),
        lost => Err(Failure::new(Kind::CannotWrite, format!("{} could not be copied", human::counted(lost, "file")))),
    }
}

fn copy(reader: &Reader, view: View, path: &RelPath, dest: &Path) -> Result<CopyReport> {
    // For the error: it knows what there is at that path now, and at other times.
    reader.find(view, path)?;
    let snapshot = Snapshot::new(reader.storage().clone(), view);
    let report = export(&snapshot, path, dest, CopyOptions::default());
    report.map_err(|error| ProjectError::from(error).into())
}

/// A copy belongs outside; inside it would be recorded as new files.
///
/// # Errors
/// If the place is inside the project.
pub(super) fn refuse_inside(target: &Target, dest: &Path) -> Result<()> {
    let roots = target.mount_point()?.into_iter().chain([target.info.working(), target.info.paths.dir.clone()]);
    let existing = dest.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    match roots.into_iter().find(|root| existing.as_ref().is_some_and(|dest| dest.starts_with(root))) {
        Some(root) => Err(Failure::new(
            Kind::Usage,
            format!("{} is inside project '{}' ({})", dest.display(), target.name(), root.display()),
        )
        .hint("without --to, the files are restored in place; with it, choose a folder outside")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell_where_they_need_it() {
        assert_eq!(quoted("src/a-1.txt"), "src/a-1.txt");
        assert_eq!(quoted("it's mine"), "'it'\\''s mine'");
    }
}

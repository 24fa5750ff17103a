//! `ize verify`.

use ize_core::storage::{Finding, Severity};

use super::open;
use crate::arguments::Verify;
use crate::context::Context;
use crate::failure::{Failure, Kind, Result};
use crate::output::{human, note, say};

pub(super) fn run(context: &Context, arguments: &Verify) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let (mut worst, mut first, mut count) = (None, None, 0_u64);
    let mut report = |finding: Finding| {
        worst = worst.max(Some(finding.severity));
        if finding.severity > Severity::Note {
            count += 1;
            first.get_or_insert_with(|| finding.what.clone());
        }
        // A reader that went away does not end the check.
        let _ = say(format_args!("{}: {}", word(finding.severity), finding.what));
    };
    open::verify(context, &target, arguments.repair, &mut report)?;
    let name = target.name();
    match worst {
        None | Some(Severity::Note) => {
            note(format_args!("'{name}' is sound"));
            Ok(())
        }
        Some(Severity::Repairable) if arguments.repair => {
            note(format_args!("'{name}' was mended"));
            Ok(())
        }
        Some(Severity::Repairable) => Err(damaged(name, count, first)
            .hint(format!("nothing is lost; 'ize verify {name} --repair' mends it (unmount first)"))),
        Some(Severity::Lost) => {
            Err(damaged(name, count, first).hint("what is listed as lost cannot be read any more; everything else can"))
        }
    }
}

fn damaged(name: &str, count: u64, first: Option<String>) -> Failure {
    let first = first.unwrap_or_default();
    let message = match count {
        1 => format!("'{name}' is damaged: {first}"),
        _ => format!("'{name}' is damaged in {} places; the first: {first}", human::count(count)),
    };
    Failure::new(Kind::Damaged, message)
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Repairable => "repairable",
        Severity::Lost => "lost",
    }
}

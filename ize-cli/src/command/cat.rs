//! `ize cat`.

use ize_core::model::{FileKind, RelPath, View};
use ize_core::project::Reader;
use ize_core::tree::Snapshot;

use super::open;
use crate::arguments::Cat;
use crate::context::{Context, Target};
use crate::failure::{Failure, Kind, Result, chain};
use crate::output::stdout;

const BUFFER_BYTES: usize = 256 * 1024;

pub(super) fn run(context: &Context, arguments: &Cat) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let path = target.path(&context.environment, &arguments.path)?;
    let opened = open::reading(context, &target)?;
    let reader = opened.reader();
    let view = match &arguments.at {
        Some(text) => open::resolve(reader, text)?,
        None => reader.newest(),
    };
    print(reader, view, &target, &path)
}

fn print(reader: &Reader, view: View, target: &Target, path: &RelPath) -> Result<()> {
    let found = reader.find(view, path)?;
    let snapshot = Snapshot::new(reader.storage().clone(), view);
    match found.metadata.kind {
        FileKind::File => {}
        FileKind::Directory => {
            return Err(Failure::new(Kind::Usage, format!("'{path}' is a folder")).hint(format!(
                "'ize restore {} {path} {} --to DEST' copies it out",
                target.name(),
                view.at
            )));
        }
        FileKind::Symlink => {
            let link = snapshot.link_target(found.file).map_err(|error| unreadable(path, &error))?;
            return Err(Failure::new(
                Kind::Usage,
                format!("'{path}' is a symlink to '{}'", String::from_utf8_lossy(&link).escape_debug()),
            ));
        }
        other => return Err(Failure::new(Kind::Usage, format!("'{path}' is a {other} and has no content"))),
    }
    let mut answer = stdout();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset = 0;
    loop {
        let count = snapshot.read_at(found.file, offset, &mut buffer).map_err(|error| unreadable(path, &error))?;
        if count == 0 || !answer.bytes(&buffer[..count])? {
            return answer.flush().map(drop);
        }
        offset += count as u64;
    }
}

fn unreadable(path: &RelPath, error: &ize_core::tree::TreeError) -> Failure {
    Failure::new(Kind::Damaged, format!("'{path}' cannot be read: {}", chain(error))).hint("run 'ize verify <name>'")
}

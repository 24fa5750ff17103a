//! `check-workspace [MANIFEST]`: every dependency has a licence that Ize can be shipped with, and every package that can
//! be published is complete: description, readme, licence files, nothing that does not belong.

use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Licences that a dependency may have.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Licences that only `ize-cli` and `ize-vcs`, and what they alone depend on, may have.
const COPYLEFT: &[&str] = &["GPL-2.0-or-later", "GPL-2.0", "LGPL-2.1-or-later"];

fn main() -> ExitCode {
    let manifest = std::env::args().nth(1).unwrap_or_else(|| "Cargo.toml".to_owned());
    match check(Path::new(&manifest)) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            wrong.iter().for_each(|line| println!("{line}"));
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(manifest: &Path) -> Result<Vec<String>, String> {
    let metadata = cargo(manifest, &["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if package["source"].is_null() {
            if package["publish"].as_array().is_none_or(|registries| !registries.is_empty()) {
                wrong.extend(incomplete(manifest, package)?);
            }
        } else if let Some(why) = licence_problem(package) {
            wrong.push(why);
        }
    }
    Ok(wrong)
}

fn cargo(manifest: &Path, arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--manifest-path").arg(manifest).output();
    let output = output.map_err(|error| format!("cargo: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
}

fn licence_problem(package: &Value) -> Option<String> {
    let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("{name} {version}: no licence expression"));
    };
    let copyleft_allowed = name.starts_with("pijul") || name.starts_with("libpijul");
    let allowed = |one: &str| LICENCES.contains(&one) || copyleft_allowed && COPYLEFT.contains(&one);
    (!satisfied(licence, &allowed)).then(|| format!("{name} {version}: licence {licence}"))
}

/// Evaluates an SPDX expression of names, `AND`, `OR` and parentheses; the old `A/B` means `OR`.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    any(&mut words.as_slice(), allowed)
}

fn any(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut result = all(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        result |= all(words, allowed);
    }
    result
}

fn all(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut result = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        result &= one(words, allowed);
    }
    result
}

fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    match **words {
        ["(", ref rest @ ..] => {
            *words = rest;
            let result = any(words, allowed);
            *words = words.strip_prefix(&[")"]).unwrap_or(words);
            result
        }
        [name, "WITH", exception, ref rest @ ..] => {
            *words = rest;
            allowed(&format!("{name} WITH {exception}")) || allowed(name)
        }
        [name, ref rest @ ..] => {
            *words = rest;
            allowed(name)
        }
        [] => false,
    }
}

/// What a package lacks to be published.
fn incomplete(manifest: &Path, package: &Value) -> Result<Vec<String>, String> {
    let name = package["name"].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    for key in ["description", "license", "readme"] {
        if package[key].as_str().is_none_or(|text| text.is_empty() || text == "tbd") {
            wrong.push(format!("{name}: no {key}"));
        }
    }
    let listed = cargo(manifest, &["package", "--list", "--allow-dirty", "--package", name])?;
    let has = |wanted: &str| listed.lines().any(|file| file.starts_with(wanted));
    for wanted in ["README", "LICENSE", "src/"] {
        if !has(wanted) {
            wrong.push(format!("{name}: the package has no {wanted}"));
        }
    }
    for strange in listed.lines().filter(|file| file.starts_with("target/") || file.contains("/target/")) {
        wrong.push(format!("{name}: {strange} does not belong into the package"));
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(expression: &str) -> bool {
        satisfied(expression, &|name| LICENCES.contains(&name))
    }

    #[test]
    fn licence_expressions_are_evaluated() {
        assert!(ok("MIT OR Apache-2.0") && ok("MIT/Apache-2.0") && ok("GPL-3.0 OR MIT"));
        assert!(ok("(MIT OR GPL-3.0) AND Unicode-3.0") && ok("Apache-2.0 WITH LLVM-exception OR MIT"));
        assert!(!ok("GPL-3.0") && !ok("MIT AND GPL-3.0") && !ok("(MIT OR Zlib) AND GPL-3.0") && !ok(""));
    }
}

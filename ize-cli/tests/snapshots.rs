//! What the command prints, where no mount is needed. `TRYCMD=overwrite cargo test -p ize-cli --test snapshots` writes the
//! files in `cmd/` anew; then read the difference.

#[test]
fn help_errors_and_answers_are_as_written() {
    let home = tempfile::tempdir().unwrap();
    let cases = trycmd::TestCases::new();
    cases
        .env("HOME", home.path().to_str().unwrap())
        .env("XDG_CONFIG_HOME", "")
        .env("XDG_DATA_HOME", "")
        .env("IZE_CENTRAL_DIR", "central")
        .env("IZE_PAGER", "")
        .env("TZ", "UTC")
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}

//! Families described by architecture maps become what llama.cpp's converter makes of them, as the built-in ones do.

use serde_json::json;

use crate::{differences_with, golden};

#[test]
fn maps_describe_what_is_built_in() {
    let mut failures = Vec::new();
    // how llama.cpp calls one way to cut text depends on the family, which a map does not know
    let granite = ["--pre", "dbrx"];
    for (case, map, pre) in [("mixtral", "mixtral", &[][..]), ("granite_moe", "granitemoe", &granite)] {
        let mut golden = golden(case);
        golden["config"]["architectures"] = json!(["NextMonthForCausalLM"]);
        let map = format!("{}/tests/arch-maps/{map}.toml", env!("CARGO_MANIFEST_DIR"));
        let found = differences_with(case, &golden, &[&["--arch-map", &map], pre].concat());
        failures.extend(found.into_iter().map(|difference| format!("{case}: {difference}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

//! Pages that are generated from the code; `HEAPSHIP_BLESS=1` writes them anew.

use std::path::Path;

mod pods;

#[test]
fn the_generated_pages_are_fresh() {
    let pages = [
        ("docs/annotations.md", heapship::settings::annotations::page()),
        ("docs/reasons.md", heapship::inject::catalogue::page()),
        ("docs/pods.md", pods::page()),
    ];
    for (name, page) in pages {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("HEAPSHIP_BLESS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &page).unwrap();
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(written == page, "{name} is stale: make bless");
    }
}

//! Where the set-up puts what registries have: `.tools/<name>-<version>/`.

use std::env;
use std::path::{Path, PathBuf};

/// The places in which something was looked for and not found, for people.
#[derive(Debug)]
pub(super) struct Searched(pub(super) String);

/// Finds `.tools/<below>`: what `variable` names, or in the current folder, the program's folder, or one above either.
pub(super) fn find(variable: &str, below: &Path) -> Result<PathBuf, Searched> {
    if let Some(named) = env::var_os(variable) {
        let named = PathBuf::from(named);
        return if named.exists() { Ok(named) } else { Err(Searched(format!("{variable}={}", named.display()))) };
    }
    let below = Path::new(".tools").join(below);
    let program_folder = env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
    let starts: Vec<PathBuf> = env::current_dir().ok().into_iter().chain(program_folder).collect();
    let found =
        starts.iter().flat_map(|start| start.ancestors()).map(|folder| folder.join(&below)).find(|p| p.exists());
    found.ok_or_else(|| {
        let places: Vec<String> =
            starts.iter().map(|start| format!("{} or a folder above it", start.join(&below).display())).collect();
        Searched(places.join(", "))
    })
}

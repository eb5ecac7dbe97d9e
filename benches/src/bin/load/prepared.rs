//! Keeps populations for the next run: a million monitors take a minute to write and a second to copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use heartbeat_engine::{Clock as _, SystemClock};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::failure::{Failure, Outcome};
use crate::population::{GRACE, Population};
use crate::store::Store;

/// Some of its monitors are overdue after [`GRACE`].
const KEPT: Duration = Duration::from_secs(GRACE.as_secs() / 2);

impl Population {
    /// Fills the store; a file out of one in the folder `kept` that has the same monitors, was written by this very program
    /// and is not too old; where there is none it is written, and kept in that folder.
    pub(crate) fn provide(
        self,
        runtime: &Runtime,
        store: &Store,
        kept: Option<&Path>,
        interrupted: &AtomicBool,
    ) -> Outcome<()> {
        let (Some(folder), Store::File(file)) = (kept, store) else {
            return self.write_now(runtime, store, interrupted);
        };
        let template = self.template(folder)?;
        if !is_fresh(&template) {
            fs::create_dir_all(folder).map_err(Failure::of("the folder of prepared databases"))?;
            // In a folder of its own, which goes with all that a run that is cut short leaves behind.
            let unfinished = TempDir::new_in(folder).map_err(Failure::of("the folder of prepared databases"))?;
            let written = unfinished.path().join("heartbeat.db");
            self.write_now(runtime, &Store::File(written.clone()), interrupted)?;
            fs::rename(&written, &template).map_err(Failure::of("a prepared database"))?;
        }
        let copied = fs::copy(&template, file).map_err(Failure::of("a prepared database"))?;
        let file = fs::File::open(file).and_then(|file| file.sync_all());
        file.map_err(Failure::of("a prepared database"))?;
        if copied == 0 { Err(Failure::new("a prepared database is empty")) } else { Ok(()) }
    }

    fn write_now(self, runtime: &Runtime, store: &Store, interrupted: &AtomicBool) -> Outcome<()> {
        runtime.block_on(self.write(store, SystemClock::new().now(), interrupted))
    }

    /// Its name tells all that decides what is in it, the program by when it was built.
    fn template(self, folder: &Path) -> Outcome<PathBuf> {
        let program = std::env::current_exe().and_then(fs::metadata).and_then(|found| found.modified());
        let program = program.map_err(Failure::of("the place of this program"))?;
        let built = program.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        let Self { monitors, mix, seed } = self;
        Ok(folder.join(format!("{monitors}-{mix:?}-{seed}-{built}.db").to_lowercase()))
    }
}

fn is_fresh(template: &Path) -> bool {
    let age = fs::metadata(template).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age < KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Mix;

    #[test]
    fn a_kept_population_is_copied_and_another_one_is_not_taken_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (kept, go_on) = (folder.path().join("kept"), AtomicBool::new(false));
        let population = Population { monitors: 3, mix: Mix::Every, seed: 1 };
        let provide = |population: Population, name: &str| {
            let file = folder.path().join(name);
            population.provide(&runtime, &Store::File(file.clone()), Some(&kept), &go_on).unwrap();
            fs::read(file).unwrap()
        };
        let first = provide(population, "a.db");
        let templates = || fs::read_dir(&kept).unwrap().count();
        assert_eq!(templates(), 1);
        assert_eq!(first, provide(population, "b.db"));
        assert_ne!(first, provide(Population { seed: 2, ..population }, "c.db"));
        assert_eq!(templates(), 2);
    }
}

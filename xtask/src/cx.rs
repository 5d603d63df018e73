//! Where things are: the repository, the cache, the target folder. The only reader of the environment.

use std::path::PathBuf;

use crate::process::Stop;

/// The places that commands work in.
#[derive(Debug, Clone)]
pub(crate) struct Cx {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// `$XDG_CACHE_HOME/royalcrown`, else `~/.cache/royalcrown`: tools and test data that outlive a clone.
    pub(crate) cache: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The cargo that runs this program.
    pub(crate) cargo: PathBuf,
    /// `$PATH`, split.
    pub(crate) path: Vec<PathBuf>,
    /// Where cargo keeps what it downloads.
    pub(crate) cargo_home: PathBuf,
}

impl Cx {
    /// Reads the environment. Fails when there is no home folder to keep tools in.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of xtask that reads the environment"
    )]
    pub(crate) fn from_environment() -> Result<Self, Stop> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        // `cargo run` says which checkout it is run in. What was compiled in may be another one: two checkouts
        // that share a target folder share this program.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .expect("xtask lies in the repository's root")
            .to_owned();
        let home = var("HOME").map(PathBuf::from);
        let under_home = |folder: &str| {
            home.as_ref()
                .map(|home| home.join(folder))
                .ok_or_else(|| Stop::usage("neither HOME nor XDG_CACHE_HOME is set"))
        };
        let cache = var("XDG_CACHE_HOME").map_or_else(|| under_home(".cache"), |dir| Ok(dir.into()))?;
        let cargo_home = var("CARGO_HOME").map_or_else(|| under_home(".cargo"), |dir| Ok(dir.into()))?;
        let target = var("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let path = var("PATH").map_or_else(Vec::new, |path| std::env::split_paths(&path).collect());
        Ok(Self {
            cache: cache.join("royalcrown"),
            target,
            cargo: var("CARGO").map_or_else(|| "cargo".into(), PathBuf::from),
            path,
            cargo_home,
            root,
        })
    }

    /// A tracked file's text, by its path from the root.
    pub(crate) fn read(&self, file: &str) -> Result<String, Stop> {
        fs_err::read_to_string(self.root.join(file)).map_err(|error| Stop::world(error.to_string()))
    }

    /// The program `name` on `$PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|folder| folder.join(name))
            .find(|candidate| candidate.is_file())
    }

    /// A tool that `setup` installed, such as `cargo-deny`.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.cache.join("tools/bin").join(name)
    }
}

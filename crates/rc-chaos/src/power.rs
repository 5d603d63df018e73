//! A disk that loses its power: what was not synced is gone. And one that is full.
//!
//! It is a real ext4 on a loop device in memory. The cut is ext4's own shutdown without flushing its journal: pages,
//! delayed allocations, names and sizes that no sync has asked for are dropped, and the next mount recovers from the
//! journal as after a real cut. It does not model a device that lies about its flushes, nor torn sectors.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rc_test::Rng;

use crate::failure::{Failure, Result};
use crate::process::Process;

/// Room for a run and its servers.
const DISK_MIB: u32 = 1_024;

/// A block of the disk: less room is none.
const BLOCK_BYTES: u64 = 4_096;

/// How long the last process may take to let go of the disk.
const LET_GO_TIME_MAX: Duration = Duration::from_secs(10);

/// Where images lie: in memory, so that syncs cost nothing but what the file system does.
const MEMORY: &str = "/dev/shm";

/// Commits of SQLite between a sync and the power loss.
const ROWS: u64 = 200;

/// A disk with a switch. Mount it in a namespace of mounts of one's own: it then ends with the last process.
#[derive(Debug)]
pub struct Disk {
    image: tempfile::NamedTempFile,
    mount: PathBuf,
}

impl Disk {
    /// An empty disk, mounted below `folder`.
    ///
    /// # Errors
    /// When it cannot be made: that needs root, `mkfs.ext4` and a loop device.
    pub fn create(folder: &Path) -> Result<Self> {
        let image = tempfile::Builder::new()
            .prefix("rc-chaos-disk-")
            .tempfile_in(MEMORY)?;
        image.as_file().set_len(u64::from(DISK_MIB) << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image.path()))?;
        let mount = folder.join("disk");
        fs_err::create_dir_all(&mount)?;
        let disk = Self { image, mount };
        disk.mount()?;
        Ok(disk)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Makes everything on it durable.
    ///
    /// # Errors
    /// As the disk says.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(fs_err::File::open(&self.mount)?)?;
        Ok(())
    }

    /// Takes all the room that is left, also what is kept for root.
    ///
    /// # Errors
    /// As the disk says; that it is full is none.
    pub fn fill(&self) -> Result<()> {
        let filler = fs_err::File::create(self.filler())?;
        let mut bytes = u64::from(DISK_MIB) << 20;
        while bytes >= BLOCK_BYTES {
            let at = filler.metadata()?.len();
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&filler, flags, at, bytes) {
                Ok(()) => {}
                Err(rustix::io::Errno::NOSPC) => bytes /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Errors
    /// As the disk says.
    pub fn make_room(&self) -> Result<()> {
        Ok(fs_err::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Cuts the power, and gives it back. With `chance`, in half of the cases some files had been written back before.
    ///
    /// # Errors
    /// When a process still uses the disk, or it cannot be mounted again.
    pub fn lose_power(&mut self, chance: Option<&mut Rng>) -> Result<()> {
        if let Some(rng) = chance
            && rng.below(2) == 0
        {
            self.write_back_some(rng)?;
        }
        shut_down(&fs_err::File::open(&self.mount)?)?;
        self.unmount()?;
        self.mount()
    }

    /// Writes a random half of the files back, as the kernel might have done at any time.
    fn write_back_some(&self, rng: &mut Rng) -> Result<()> {
        let mut folders = vec![self.mount.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && rng.below(2) == 0 {
                    fs_err::File::open(entry.path())?.sync_data()?;
                }
            }
        }
        Ok(())
    }

    fn mount(&self) -> Result<()> {
        // The journal is written when somebody syncs, not because five seconds have passed.
        run(Command::new("mount")
            .args(["-o", "loop,commit=3600"])
            .arg(self.image.path())
            .arg(&self.mount))
    }

    fn unmount(&self) -> Result<()> {
        let until = tokio::time::Instant::now() + LET_GO_TIME_MAX;
        loop {
            match run(Command::new("umount").arg(&self.mount)) {
                Err(_busy) if tokio::time::Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                done => return done,
            }
        }
    }
}

/// What SQLite with this `synchronous` acknowledged before a power loss, and what it had afterwards.
///
/// # Errors
/// When there is no disk, or SQLite cannot open its file again.
pub fn sqlite(program: &Path, folder: &Path, synchronous: &str) -> Result<(u64, u64)> {
    let mut disk = Disk::create(folder)?;
    let file = disk.path().join("rows.db");
    let mut args = ["rows", "--synchronous", synchronous, "--file"]
        .map(str::to_owned)
        .to_vec();
    args.push(file.display().to_string());
    let mut writer = Process::start(program, &args, &folder.join("rows.log"))?;
    let wait_for = |writer: &Process, rows: u64| {
        while writer.status().done < rows {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(&writer, 10);
    disk.sync()?;
    let before = writer.status().done;
    wait_for(&writer, before + ROWS);
    writer.kill();
    let acknowledged = writer.status().done;
    disk.lose_power(None)?;
    let db = rc_store::rusqlite::Connection::open(&file)?;
    let kept: i64 = db.query_row("SELECT count(*) FROM t", (), |row| row.get(0))?;
    Ok((acknowledged, kept.cast_unsigned()))
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Failure::new(format!("{command:?}: {said}")))
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more reaches the device, not even the journal.
#[expect(unsafe_code, reason = "an ioctl that rustix has no name for")]
fn shut_down(folder: &fs_err::File) -> Result<()> {
    const NO_LOG_FLUSH: u32 = 2;
    const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
    // SAFETY: the ioctl reads one `u32`, which lives until it returns.
    unsafe {
        let shutdown = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        rustix::ioctl::ioctl(folder.as_fd(), shutdown)?;
    }
    Ok(())
}

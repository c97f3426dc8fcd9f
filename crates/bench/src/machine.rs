//! What the figures were measured on: they mean nothing without it.

use attune_common::db::{self, PoolOptions};
use serde::Serialize;

/// Settings of PostgreSQL that decide how fast a commit is and how much of the data is in memory.
const SETTINGS: &[&str] = &[
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "wal_compression",
    "jit",
];

/// The machine and its PostgreSQL.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) measured: String,
    pub(crate) cores: usize,
    pub(crate) processor: Option<String>,
    pub(crate) memory_gb: Option<f64>,
    pub(crate) kernel: Option<String>,
    /// Of the minute before the measurement: what else ran here.
    pub(crate) load_average: Option<f64>,
    /// None for a server that was given, whose database is not known.
    pub(crate) postgresql: Option<Vec<(String, String)>>,
}

impl Machine {
    /// Looks at this machine, and at the database of `url`.
    pub(crate) async fn look(url: Option<&str>) -> anyhow::Result<Self> {
        let postgresql = match url {
            Some(url) => Some(settings(url).await?),
            None => None,
        };
        Ok(Self {
            measured: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: read("/proc/cpuinfo").and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("model name"))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            }),
            memory_gb: read("/proc/meminfo").and_then(|text| {
                let kib: f64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
                Some((kib * 1024.0 / 1e8).round() / 10.0)
            }),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            load_average: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            postgresql,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unknown = || "unknown".to_owned();
        write!(
            f,
            "{}; {} cores ({}), {} GB, Linux {}, load average {} before",
            self.measured,
            self.cores,
            self.processor.clone().unwrap_or_else(unknown),
            self.memory_gb.map_or_else(unknown, |gb| gb.to_string()),
            self.kernel.clone().unwrap_or_else(unknown),
            self.load_average.map_or_else(unknown, |load| load.to_string()),
        )?;
        if let Some(settings) = &self.postgresql {
            write!(f, "\nPostgreSQL on the same machine:")?;
            for (name, value) in settings {
                write!(f, " {name} {value},")?;
            }
            write!(f, " all else as it comes")?;
        }
        Ok(())
    }
}

async fn settings(url: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pool = db::connect(url, &PoolOptions { max_connections: 1, ..PoolOptions::default() }).await?;
    let found: Vec<(String, String)> = sqlx::query_as(
        "select name, current_setting(name) from unnest($1::text[]) with ordinality as wanted (name, place) order by place",
    )
    .bind(SETTINGS)
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    Ok(found)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Seconds of processor time that a process has used so far; 0 where that is not known.
pub(crate) fn processor_seconds(pid: u32) -> f64 {
    read(&format!("/proc/{pid}/stat")).and_then(|text| seconds_of(&text)).unwrap_or_default()
}

/// Of a line of `/proc/PID/stat`: the name may hold spaces and brackets, so fields are counted from behind it. The kernel
/// counts in hundredths, whatever the machine.
fn seconds_of(stat: &str) -> Option<f64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_processor_time_is_read_behind_the_name() {
        let stat = "71 (a ) b) S 1 71 71 0 -1 4194560 900 0 0 0 150 50 7 7 20 0 5 0 100 0 0";
        assert_eq!(seconds_of(stat), Some(2.0));
        assert_eq!(seconds_of("71 (a) S 1"), None);
    }
}

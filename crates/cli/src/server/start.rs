//! A database that is away when a process starts is waited for; one that will not have us is an error at once.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_common::db::{self, PoolOptions};
use attune_common::error::{StoreError, is_unavailable};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The pauses between attempts: from this one they double, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often the log says that the process still waits for the same reason.
const REMINDER: Duration = Duration::from_secs(60);

/// Opens the pool of a serving process.
pub(super) async fn connect(url: &str) -> anyhow::Result<PgPool> {
    const FAILED: &str = "cannot connect to the database";
    let options = PoolOptions::default();
    db::reach(url, &options).await.map_err(|error| of_a_file(url, error)).context(FAILED)?;
    db::connect(url, &options).await.context(FAILED)
}

/// Does what a start needs the database for. While that is away, it is done again and again, and `listener` answers that the
/// process is not ready. None when the shutdown came first.
pub(super) async fn when_there<T>(
    listener: Option<&TcpListener>,
    shutdown: &CancellationToken,
    open: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let began = Instant::now();
    let first = tokio::select! {
        opened = open() => match opened {
            Err(error) if is_away(&error) => error,
            opened => return opened.map(Some),
        },
        () = shutdown.cancelled() => return Ok(None),
    };
    let unready = listener.map(second_handle).transpose().context("the address cannot be served")?;
    let ready = CancellationToken::new();
    let waiting = async {
        let opened = tokio::select! {
            opened = again(first, &open) => opened.map(Some),
            () = shutdown.cancelled() => Ok(None),
        };
        ready.cancel();
        opened
    };
    let answering = async {
        match unready {
            Some(listener) => attune_api::serve_unready(listener, ready.clone()).await,
            None => Ok(()),
        }
    };
    let (opened, answered) = tokio::join!(waiting, answering);
    if let Err(error) = answered {
        tracing::warn!(%error, "nobody could be told that the database is away");
    }
    if let Ok(Some(_)) = &opened {
        tracing::info!(waited_s = began.elapsed().as_secs(), "the database is there");
    }
    opened
}

/// Until the database is there, or turns out not to be usable.
async fn again<T>(first: anyhow::Error, open: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut pause = FIRST_PAUSE;
    let mut said: Option<(String, Instant)> = None;
    let mut error = first;
    loop {
        let reason = error.root_cause().to_string();
        if said.as_ref().is_none_or(|(known, at)| *known != reason || at.elapsed() >= REMINDER) {
            tracing::warn!(reason, "the database is away; waiting for it");
            said = Some((reason, Instant::now()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        error = match open().await {
            Err(error) if is_away(&error) => error,
            opened => return opened,
        };
    }
}

/// Something that is not there is a socket, of a PostgreSQL that is not running, or, where no socket is used, a file for TLS.
fn of_a_file(url: &str, error: StoreError) -> StoreError {
    let uses_no_socket = || {
        let options = db::connect_options(url, "attune");
        options.is_ok_and(|options| options.get_socket().is_none() && !options.get_host().starts_with('/'))
    };
    match error {
        StoreError::Unavailable(sqlx::Error::Io(error))
            if error.kind() == ErrorKind::NotFound && uses_no_socket() =>
        {
            let advice = "a file that the URL names for TLS (sslrootcert, sslcert, sslkey) is not there";
            StoreError::Database(sqlx::Error::Configuration(format!("{advice}: {error}").into()))
        }
        other => other,
    }
}

/// Whether the same may succeed later without anybody changing a setting: not with another password, name or certificate.
fn is_away(error: &anyhow::Error) -> bool {
    /// What is neither yes nor no to TLS is not said by a PostgreSQL; but for these: the end of a connection that something in
    /// between has closed, and the error of a PostgreSQL that has no room for another process.
    const NO_ANSWER: [&str; 2] = ["SSLRequest: 0x00", "SSLRequest: 0x45"];
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.is_some_and(|cause| match cause {
        sqlx::Error::Tls(_) => false,
        // The latter is how TLS says what it does not like: the certificate of the other side, or our own.
        sqlx::Error::Io(error)
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidData) =>
        {
            false
        }
        sqlx::Error::Protocol(words) if words.contains("SSLRequest") => {
            NO_ANSWER.iter().any(|answer| words.contains(answer))
        }
        other => is_unavailable(other),
    })
}

/// Another handle of the same socket, for as long as the first one is not used.
fn second_handle(listener: &TcpListener) -> std::io::Result<TcpListener> {
    use std::os::fd::AsFd;
    let second = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
    TcpListener::from_std(second)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn refused() -> anyhow::Error {
        failed(sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into()))
    }

    fn failed(error: sqlx::Error) -> anyhow::Error {
        anyhow::Error::from(StoreError::from(error)).context("cannot connect to the database")
    }

    #[test]
    fn test_what_only_time_can_mend_is_told_from_what_somebody_must() {
        assert!(is_away(&refused()));
        // The socket of a PostgreSQL that is not running.
        assert!(is_away(&failed(sqlx::Error::Io(io::ErrorKind::NotFound.into()))));
        assert!(!is_away(&failed(sqlx::Error::Io(io::ErrorKind::PermissionDenied.into()))));
        assert!(!is_away(&failed(sqlx::Error::Tls("the certificate is not valid".into()))));
        assert!(!is_away(&failed(sqlx::Error::Configuration("no such option".into()))));
        assert!(!is_away(&anyhow::anyhow!("the schema of the database is older than this attune")));
    }

    /// The error of a start against something that answers the request for TLS with this, and closes the connection after what
    /// is then said to it.
    async fn answered(answer: &'static [u8], settings: &str) -> anyhow::Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://attune@{}/attune?{settings}", listener.local_addr().unwrap());
        let peer = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            peer.read_exact(&mut request).await.unwrap();
            let (yes, said) = answer.split_at(answer.len().min(1));
            peer.write_all(yes).await.unwrap();
            if !said.is_empty() {
                // What comes after it is only sent once the handshake has begun.
                assert!(peer.read(&mut [0; 1]).await.unwrap() > 0);
                peer.write_all(said).await.unwrap();
                peer.shutdown().await.unwrap();
                let _rest = peer.read_to_end(&mut Vec::new()).await;
            }
        });
        let error = connect(&url).await.unwrap_err();
        peer.await.unwrap();
        error
    }

    #[tokio::test]
    async fn test_what_tls_does_not_like_is_no_database_that_is_away() {
        // Words that are no TLS, and what a server says that does not know our certificate (the alert `unknown_ca`).
        for answer in [&b"Swhat is this?"[..], b"S\x15\x03\x03\x00\x02\x02\x30", b"N", b"H"] {
            let error = answered(answer, "sslmode=require").await;
            assert!(!is_away(&error), "{answer:?}: {error:?}");
        }
        // A port that somebody forwards to nobody, and a server without room, which says so later.
        for answer in [&b""[..], b"E"] {
            let error = answered(answer, "sslmode=require").await;
            assert!(is_away(&error), "{answer:?}: {error:?}");
        }
        let missing = "sslmode=verify-full&sslrootcert=/nowhere/root.pem";
        let error = answered(b"S", missing).await;
        assert!(!is_away(&error) && format!("{error:#}").contains("sslrootcert"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn test_a_database_that_is_away_is_waited_for_until_the_shutdown() {
        let shutdown = CancellationToken::new();
        let tries = std::cell::Cell::new(0);
        let open = async || {
            tries.set(tries.get() + 1);
            if tries.get() < 20 { Err(refused()) } else { Ok(tries.get()) }
        };
        assert_eq!(when_there(None, &shutdown, open).await.unwrap(), Some(20));

        let never = async || {
            tries.set(tries.get() + 1);
            if tries.get() > 30 {
                shutdown.cancel();
            }
            Err::<(), _>(refused())
        };
        assert!(when_there(None, &shutdown, never).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn test_a_database_that_will_not_have_us_is_an_error_at_once() {
        let tries = std::cell::Cell::new(0);
        let open = async || {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(refused()),
                _ => Err::<(), _>(anyhow::anyhow!("run `attune migrate` first")),
            }
        };
        let error = when_there(None, &CancellationToken::new(), open).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), tries.get()), ("run `attune migrate` first", 2));
    }
}

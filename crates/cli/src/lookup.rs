//! Things named by a person: where the server knows no such ref, the nearest one that it knows.

use attune_client::ClientError;
use attune_expr::suggest::nearest;

use crate::exit::Exit;
use crate::failure::Fault;

/// The answer, or for a ref that does not exist an error that suggests one of `known`, which is asked for only then.
pub(crate) async fn found<T>(
    noun: &str,
    given: &str,
    answer: Result<T, ClientError>,
    known: impl Future<Output = Result<Vec<String>, ClientError>>,
) -> anyhow::Result<T> {
    let error = match answer {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let ClientError::Problem(problem) = &error else { return Err(error.into()) };
    if problem.status != 404 {
        return Err(error.into());
    }
    // The list only serves the hint: what goes wrong with it must not hide what went wrong before.
    let known = known.await.unwrap_or_default();
    let hint = match nearest(given, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`attune {noun} list` shows what there is"),
    };
    Err(Fault::new(problem.detail.clone()).hint(hint).exit(Exit::NotFound).into())
}

#[cfg(test)]
mod tests {
    use attune_client::types::Problem;

    use super::*;

    fn problem(status: u16) -> ClientError {
        ClientError::Problem(Box::new(Problem {
            kind: "/problems/x".into(),
            title: "t".into(),
            status,
            detail: "no such action".into(),
            errors: vec![],
        }))
    }

    async fn check(status: u16, known: Result<Vec<String>, ClientError>, expect: &str) {
        let error =
            found::<()>("action", "core.ecoh", Err(problem(status)), async { known }).await.unwrap_err();
        assert_eq!(error.to_string(), "no such action");
        let fault = format!("{:?}", error.downcast_ref::<Fault>().unwrap());
        assert!(fault.contains(expect), "{fault}");
    }

    #[tokio::test]
    async fn test_the_nearest_ref_is_suggested() {
        check(404, Ok(vec!["core.http".into(), "core.echo".into()]), "did you mean `core.echo`?").await;
        check(404, Ok(vec!["ops.page".into()]), "`attune action list` shows what there is").await;
        check(404, Err(problem(500)), "`attune action list`").await;
        let error =
            found::<()>("action", "x", Err(problem(403)), async { Ok(vec!["x".into()]) }).await.unwrap_err();
        assert!(error.downcast_ref::<ClientError>().is_some());
    }
}

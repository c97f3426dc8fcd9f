//! Back-tests, whose answer comes with progress.

use futures::StreamExt;
use reqwest::{Method, StatusCode};

use super::{Client, ClientError, Result, field_of, find_blank_line};
use crate::types::{BacktestProgress, BacktestReport, BacktestRequest};

const PATH: &str = "api/v1/rules/backtest";

impl Client {
    /// Tries a rule on recorded events at the server; `progress` is told how far it is.
    pub async fn backtest(
        &self,
        request: &BacktestRequest,
        mut progress: impl FnMut(BacktestProgress),
    ) -> Result<BacktestReport> {
        let sent = self.request(Method::POST, PATH).header("accept", "text/event-stream").json(request);
        let response = self.send(sent).await?;
        let url = response.url().to_string();
        let unexpected = || ClientError::Unexpected { url: url.clone(), status: StatusCode::OK };
        let mut bytes = std::pin::pin!(response.bytes_stream());
        let mut buffer = Vec::new();
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|source| ClientError::Unreachable { url: url.clone(), source })?;
            buffer.extend_from_slice(&piece);
            while let Some(end) = find_blank_line(&buffer) {
                let block: Vec<u8> = buffer.drain(..end).collect();
                let block = String::from_utf8_lossy(&block);
                let Some(data) = field_of(&block, "data") else { continue };
                match field_of(&block, "event").as_deref() {
                    Some("progress") => progress(serde_json::from_str(&data).map_err(|_| unexpected())?),
                    Some("report") => return serde_json::from_str(&data).map_err(|_| unexpected()),
                    Some("problem") => {
                        let problem = serde_json::from_str(&data).map_err(|_| unexpected())?;
                        return Err(ClientError::Problem(Box::new(problem)));
                    }
                    _ => {}
                }
            }
        }
        Err(ClientError::Ended { url })
    }
}

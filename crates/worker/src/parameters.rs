//! Turns an execution's parameters into what its process receives.
//!
//! Invariants: nothing goes into arguments, which every user of a machine may read; a file of parameters is readable by
//! the worker's account only; neither errors nor `Debug` show a value.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

use attune_common::models::action::{ParameterDelivery, ParameterFormat};
use serde_json::{Map, Value};
use tokio::{fs::OpenOptions, io::AsyncWriteExt};

use crate::environment;

/// Parameters on their way to a process.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// For standard input.
    pub stdin: Vec<u8>,
    /// To add to the environment.
    pub env: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("stdin_bytes", &self.stdin.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Why parameters cannot be delivered as the action wants them.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    #[error("parameters are {found}, expected an object")]
    NotAnObject { found: &'static str },
    #[error(
        "parameter `{name}` contains U+0000, which neither environment nor shell can hold: deliver it as json"
    )]
    Nul { name: String },
    #[error(
        "parameters `{first}` and `{second}` would both be `{variable}`: rename one, or deliver them as json"
    )]
    SameVariable { first: String, second: String, variable: String },
    #[error(
        "parameter `{name}` would be `{variable}`, which is not free: rename it, or deliver it by stdin or file"
    )]
    Taken { name: String, variable: String },
    #[error(
        "parameter `{name}` would be no name for a variable: let it begin with a letter or `_`, or deliver it as json"
    )]
    NoVariable { name: String },
    #[error("parameters cannot be written as {format}")]
    Format { format: ParameterFormat },
    #[error("the file of parameters {} could not be written", .path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Prepares the parameters. `directory` is private to the attempt; a file is written there and named by
/// `ATTUNE_PARAMETERS_FILE`. The format is of no concern to [`ParameterDelivery::Env`].
pub async fn deliver(
    parameters: &Value,
    delivery: ParameterDelivery,
    format: ParameterFormat,
    directory: &Path,
) -> Result<Delivered, ParameterError> {
    let parameters = match parameters {
        Value::Object(parameters) => parameters,
        other => return Err(ParameterError::NotAnObject { found: kind(other) }),
    };
    match delivery {
        ParameterDelivery::Stdin => Ok(Delivered { stdin: write(parameters, format)?, env: BTreeMap::new() }),
        ParameterDelivery::Env => Ok(Delivered { stdin: Vec::new(), env: to_environment(parameters)? }),
        ParameterDelivery::File => {
            let path = directory.join(match format {
                ParameterFormat::Json => "parameters.json",
                ParameterFormat::Yaml => "parameters.yaml",
                ParameterFormat::Dotenv => "parameters.env",
            });
            let content = write(parameters, format)?;
            match write_private(&path, &content).await {
                Ok(()) => {
                    let env = BTreeMap::from([(environment::PARAMETERS_FILE.into(), path.into_os_string())]);
                    Ok(Delivered { stdin: Vec::new(), env })
                }
                Err(source) => Err(ParameterError::File { path, source }),
            }
        }
    }
}

/// The parameters as text, ending in a newline unless there are none in `dotenv`.
pub fn write(parameters: &Map<String, Value>, format: ParameterFormat) -> Result<Vec<u8>, ParameterError> {
    let text = match format {
        ParameterFormat::Json => serde_json::to_string(parameters)
            .map(|json| json + "\n")
            .map_err(|_| ParameterError::Format { format })?,
        ParameterFormat::Yaml => to_yaml(parameters)?,
        ParameterFormat::Dotenv => to_dotenv(parameters)?,
    };
    Ok(text.into_bytes())
}

/// Quotes every string: which plain words are booleans, dates or numbers differs from reader to reader.
fn to_yaml(parameters: &Map<String, Value>) -> Result<String, ParameterError> {
    let options = serde_saphyr::ser_options! { quote_all: true };
    serde_saphyr::to_string_with_options(parameters, options)
        .map_err(|_| ParameterError::Format { format: ParameterFormat::Yaml })
}

/// Lines of `name='value'` for a POSIX shell to source: within single quotes it expands nothing, and a single quote is
/// written by leaving the quotes, `'\''`.
fn to_dotenv(parameters: &Map<String, Value>) -> Result<String, ParameterError> {
    let mut text = String::new();
    for (variable, value) in variables(parameters, str::to_owned)? {
        if variable.starts_with(|first: char| first.is_ascii_digit()) || variable.is_empty() {
            return Err(ParameterError::NoVariable { name: variable });
        }
        text.push_str(&variable);
        text.push_str("='");
        text.push_str(&value.replace('\'', r"'\''"));
        text.push_str("'\n");
    }
    Ok(text)
}

fn to_environment(parameters: &Map<String, Value>) -> Result<BTreeMap<OsString, OsString>, ParameterError> {
    let to_name = |name: &str| format!("{}{}", environment::PARAMETER_PREFIX, name.to_ascii_uppercase());
    let variables = variables(parameters, to_name)?;
    if let Some(name) = parameters.keys().find(|name| to_variable(&to_name(name)) == environment::ACTION_REF)
    {
        return Err(ParameterError::Taken {
            name: name.clone(),
            variable: environment::ACTION_REF.to_owned(),
        });
    }
    Ok(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// Names and values of one variable per parameter: strings as they are, anything else as JSON.
fn variables(
    parameters: &Map<String, Value>,
    to_name: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>, ParameterError> {
    let mut origins: BTreeMap<String, &str> = BTreeMap::new();
    let mut variables = BTreeMap::new();
    for (name, value) in parameters {
        let variable = to_variable(&to_name(name));
        if let Some(first) = origins.insert(variable.clone(), name) {
            return Err(ParameterError::SameVariable {
                first: first.to_owned(),
                second: name.clone(),
                variable,
            });
        }
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if value.contains('\0') {
            return Err(ParameterError::Nul { name: name.clone() });
        }
        variables.insert(variable, value);
    }
    Ok(variables)
}

/// Replaces what no variable may have in its name.
fn to_variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

async fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await?;
    file.write_all(content).await?;
    file.flush().await
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

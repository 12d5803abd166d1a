//! Why the API server did not answer with what was asked for.

use std::error::Error as _;

/// Why something could not be read or done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Whoever asks may not. The API server's own words: who, which verb, which resource.
    #[error("not permitted: {0}")]
    Forbidden(String),
    /// There is no such object, or no such kind.
    #[error("not there")]
    Absent,
    /// The API server does not know who asks.
    #[error("not logged in: {0}")]
    Unauthorized(String),
    /// Nobody answered.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The API server said no for another reason.
    #[error("{0}")]
    Refused(String),
}

impl Refusal {
    /// A request that cannot be built: a name with characters that no path has.
    pub(super) fn bug(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    /// The same at the very first question: it says what to do about the way to the cluster.
    pub(super) fn of_the_cluster(self, address: &str) -> anyhow::Error {
        match self {
            Self::Unreachable(why) => anyhow::anyhow!(
                "cannot reach the cluster at {address}: {why}; check the network, or choose another with --context"
            ),
            Self::Unauthorized(_) => anyhow::anyhow!(
                "the cluster at {address} does not accept these credentials; log in again, or choose others with --context"
            ),
            other @ (Self::Forbidden(_) | Self::Absent | Self::Refused(_)) => {
                anyhow::anyhow!("the cluster at {address} does not tell its version: {other}")
            }
        }
    }
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => {
                let message = status.message.clone();
                match status.code {
                    401 => Self::Unauthorized(message),
                    // Admission answers 403 too: a quota, Pod Security. Only the authorizer speaks like this.
                    403 if message.contains(" cannot ") => Self::Forbidden(message),
                    404 => Self::Absent,
                    _ => Self::Refused(message),
                }
            }
            _ => Self::Unreachable(root(&error)),
        }
    }
}

/// The innermost cause: what stands before it are layers of the client.
fn root(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

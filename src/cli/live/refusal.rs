//! Why the API server did not answer with what was asked for.

use super::root;

/// Why something could not be read or done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Whoever asks may not: who, which verb, which resource.
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
                    403 if message.contains(" cannot ") => Self::Forbidden(shortened(&message)),
                    404 => Self::Absent,
                    _ => Self::Refused(message),
                }
            }
            _ => Self::Unreachable(root(&error)),
        }
    }
}

/// `User "nobody" may not list pods, cluster-wide` out of the authorizer's longer words.
fn shortened(message: &str) -> String {
    let shorter = || {
        let (who, rest) = message.get(message.find("User \"")?..)?.split_once(" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once('"')?;
        let place = match rest.split_once("in the namespace \"") {
            Some((_, namespace)) => format!("in {}", namespace.split('"').next()?),
            None => "cluster-wide".to_owned(),
        };
        Some(format!(
            "{} may not {verb} {resource} {place}",
            who.replace('"', "")
        ))
    };
    shorter().unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn the_authorizers_words_become_a_short_sentence() {
        assert_eq!(
            shortened(
                "pods is forbidden: User \"nobody\" cannot create resource \"pods\" in API group \"\" in the namespace \"web\""
            ),
            "User nobody may not create pods in web"
        );
        assert_eq!(
            shortened(
                "nodes is forbidden: User \"nobody\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
            ),
            "User nobody may not list nodes cluster-wide"
        );
        assert_eq!(shortened("something else"), "something else");
    }
}

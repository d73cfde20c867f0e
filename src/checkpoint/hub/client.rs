//! Requests to the hub, or to a server in its place: bounded in time and size, and repeated where that may help.

use std::path::Path;
use std::time::{Duration, Instant};

use ureq::http::Response;
use ureq::{Agent, Body};

use super::about::About;
use super::answers::{Listing, Stated};
use super::cache::path;
use super::{Environment, HubId};
use crate::error::{Error, Result};
use crate::input::read_regular;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// The longest wait for a connection, for a response to begin, and for the next bytes of one.
const PATIENCE: Duration = Duration::from_secs(30);
/// The number of attempts per request, and per file without progress.
pub(super) const ATTEMPTS: u32 = 5;
/// The wait before the second attempt. It doubles before each further one.
const PAUSE: Duration = Duration::from_millis(300);
/// The number of redirections within the hub that are followed to a file.
const REDIRECTIONS: usize = 5;
/// The largest size of a file that holds a token, in bytes.
const LARGEST_TOKEN: u64 = 4096;

/// The reason why a request has no result.
pub(super) enum Failure {
    /// The connection, or a hub that is busy: it may work the next time.
    Passing(String),
    /// A refusal.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The attempts at one piece of work.
pub(super) struct Attempts {
    patience: Duration,
    made: u32,
    since: Instant,
}

impl Attempts {
    /// Counts from the first attempt again: there was progress.
    pub(super) fn reset(&mut self) {
        (self.made, self.since) = (0, Instant::now());
    }

    /// Waits until the next attempt, and returns its number. `None` if there is to be none: enough were made, or
    /// twice the patience with one wait has passed.
    pub(super) fn next(&mut self) -> Option<u32> {
        if self.made + 1 >= ATTEMPTS || self.since.elapsed() >= 2 * self.patience {
            return None;
        }
        std::thread::sleep(PAUSE * 2u32.pow(self.made));
        self.made += 1;
        Some(self.made + 1)
    }
}

/// A client of the hub or of a server in its place.
pub(super) struct Client {
    endpoint: String,
    token: Option<String>,
    patience: Duration,
    agent: Agent,
}

impl Client {
    pub(super) fn new(environment: Environment) -> Result<Self> {
        let text =
            |name: &str| environment(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let kept = path("HF_TOKEN_PATH", environment).or_else(|| Some(path("HF_HOME", environment)?.join("token")));
        let token = text("HF_TOKEN").or_else(|| token_in(&kept?)).map(|token| token.trim().to_owned());
        let patience = text("HF_HUB_DOWNLOAD_TIMEOUT").map_or(Ok(PATIENCE), |text| seconds(&text))?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_send_request(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .build();
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            patience,
            agent: Agent::new_with_config(agent),
        })
    }

    /// Returns the address of a model's page.
    pub(super) fn page(&self, id: &HubId) -> String {
        format!("{}/{}/{}", self.endpoint, id.organisation, id.name)
    }

    /// Returns the attempts at one piece of work.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts { patience: self.patience, made: 0, since: Instant::now() }
    }

    /// Returns the commit of a revision, and its files.
    pub(super) fn listing(&self, id: &HubId, watch: Retry) -> Result<Listing> {
        let revision = id.revision().replace('/', "%2F");
        let address = format!("{}/api/models/{}/{}/revision/{revision}", self.endpoint, id.organisation, id.name);
        let body = self.patiently(&address, watch, || {
            let mut response = self.get(&address, None, Some(4 * self.patience))?;
            response.body_mut().read_to_string().map_err(|error| Failure::Passing(error.to_string()))
        })?;
        Listing::parse(&address, &body)
    }

    /// Asks the hub about a file, before any redirection to its storage.
    pub(super) fn about(&self, address: &str, watch: Retry) -> Result<About> {
        self.patiently(address, watch, || {
            let mut at = address.to_owned();
            for _ in 0..REDIRECTIONS {
                let response = self.head(&at)?;
                let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
                match Stated::read(response.status().is_redirection(), header) {
                    Stated::File(about) => return Ok(about),
                    Stated::Elsewhere(place) => match self.within_hub(&place) {
                        Some(moved) => at = moved,
                        None => break,
                    },
                    Stated::Nothing => break,
                }
            }
            Err(Error::bad_file(address, "the response has no ETag and length").into())
        })
    }

    /// Returns the address of a redirection that stays on the hub, as that of a renamed model does.
    fn within_hub(&self, place: &str) -> Option<String> {
        let authority = self.endpoint.split_once("://").map_or(0, |(scheme, _)| scheme.len() + "://".len());
        let end = self.endpoint[authority..].find('/').map_or(self.endpoint.len(), |slash| authority + slash);
        let origin = &self.endpoint[..end];
        let is_path = place.starts_with('/') && !place.starts_with("//");
        let is_same = place.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'));
        if is_path { Some(format!("{origin}{place}")) } else { is_same.then(|| place.to_owned()) }
    }

    /// Requests the content at `address`, from byte `from` on, within the time `total`.
    pub(super) fn get(
        &self,
        address: &str,
        from: Option<u64>,
        total: Option<Duration>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let request = self.agent.get(address);
        let request = self.token.iter().fold(request, |request, token| request.header("Authorization", bearer(token)));
        let request = from.iter().fold(request, |request, byte| request.header("Range", format!("bytes={byte}-")));
        let response = request.config().timeout_global(total).build().call();
        let response = response.map_err(|error| Failure::Passing(error.to_string()))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(address, &response)) }
    }

    fn head(&self, address: &str) -> std::result::Result<Response<Body>, Failure> {
        let request = self.agent.head(address);
        let request = self.token.iter().fold(request, |request, token| request.header("Authorization", bearer(token)));
        let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
        let response = request.call().map_err(|error| Failure::Passing(error.to_string()))?;
        if response.status().as_u16() < 400 { Ok(response) } else { Err(refused(address, &response)) }
    }

    /// Repeats `ask` while it fails for a passing reason.
    fn patiently<T>(
        &self,
        address: &str,
        watch: Retry,
        mut ask: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut attempts = self.attempts();
        loop {
            let why = match ask() {
                Ok(result) => return Ok(result),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            match attempts.next() {
                Some(attempt) => watch(attempt, &why)?,
                None => return Err(lost(address, &why)),
            }
        }
    }
}

/// A function that is told of each further attempt and its reason. An error stops the download.
pub(super) type Retry<'a> = &'a mut dyn FnMut(u32, &str) -> Result<()>;

fn seconds(text: &str) -> Result<Duration> {
    match text.trim().parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(Error::argument(
            format!("HF_HUB_DOWNLOAD_TIMEOUT is {text:?}, which is not a whole number of seconds"),
            "set it to 1 or more, or unset it",
        )),
    }
}

fn token_in(file: &Path) -> Option<String> {
    String::from_utf8(read_regular(file, LARGEST_TOKEN).ok()?).ok()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The error for a connection that is lost, time and again.
pub(super) fn lost(address: &str, why: &str) -> Error {
    Error::bad_file_hint(
        address,
        format!("the connection failed: {why}"),
        "the received part is kept, and the same command resumes from there",
    )
}

fn refused(address: &str, response: &Response<Body>) -> Failure {
    let status = response.status();
    let hint = match status.as_u16() {
        408 | 429 | 500..=599 => return Failure::Passing(format!("the hub responds with status {status}")),
        401 | 403 => "the model requires an account: accept its terms on its page, and set HF_TOKEN",
        404 => "there is no such model, revision or file; a private one needs HF_TOKEN",
        _ => "try again later",
    };
    Failure::Final(Error::bad_file_hint(address, format!("the hub responds with status {status}"), hint))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn client(variables: &[(&str, &str)]) -> Result<Client> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Client::new(&value)
    }

    #[test]
    fn only_redirections_within_the_hub_are_followed_for_a_tag() {
        for endpoint in ["https://hub.example", "https://hub.example/", "https://hub.example/mirror"] {
            let client = client(&[("HF_ENDPOINT", endpoint)]).unwrap();
            assert_eq!(client.within_hub("/new/name").as_deref(), Some("https://hub.example/new/name"));
            assert_eq!(client.within_hub("https://hub.example/a").as_deref(), Some("https://hub.example/a"));
            for place in
                ["https://other.example/a", "https://hub.example.evil/a", "//other/a", "file:///etc/passwd", ""]
            {
                assert_eq!(client.within_hub(place), None, "{place}");
            }
        }
    }

    #[test]
    fn the_timeout_is_a_number_of_seconds() {
        assert_eq!(client(&[("HF_HUB_DOWNLOAD_TIMEOUT", "7")]).unwrap().patience, Duration::from_secs(7));
        assert_eq!(client(&[("HF_HUB_DOWNLOAD_TIMEOUT", "")]).unwrap().patience, PATIENCE);
        for text in ["0", "-1", "soon"] {
            let error = client(&[("HF_HUB_DOWNLOAD_TIMEOUT", text)]).err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Argument);
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn attempts_end_and_begin_again_after_progress() {
        let mut attempts = Attempts { patience: Duration::from_secs(60), made: ATTEMPTS - 1, since: Instant::now() };
        assert_eq!(attempts.next(), None);
        attempts.reset();
        assert_eq!(attempts.next(), Some(2));
        attempts.patience = Duration::ZERO;
        assert_eq!(attempts.next(), None, "too long without progress");
    }
}

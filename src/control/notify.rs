//! What the service manager is told (systemd's notification protocol), if there is one that wants to know.
//!
//! Not being able to tell it is logged and otherwise without consequence: serving does not depend on it.

use sd_notify::NotifyState;

/// Says that the server serves, with a line for its status.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the server ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}

//! Whose turn it is to read and send: one dump at a time, by which an agent's memory is measured, and the pod's own first.

use std::future::pending;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// Whose dump it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// Of the pod that the agent is in.
    Own,
    /// Of a dead one.
    Adopted,
}

/// All that wait for their turn.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    /// How many of our own wait or are at work.
    own: watch::Sender<usize>,
}

/// A turn; over when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    whose: Whose,
    _permit: Option<SemaphorePermit<'a>>,
    _announced: Option<Announced<'a>>,
}

/// One of our own waits or is at work.
#[derive(Debug)]
struct Announced<'a>(&'a watch::Sender<usize>);

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Semaphore::new(1),
            own: watch::Sender::new(0),
        }
    }
}

impl Turns {
    /// Waits for a turn.
    pub async fn take(&self, whose: Whose) -> Turn<'_> {
        let announced = match whose {
            Whose::Own => Some(Announced::new(&self.own)),
            Whose::Adopted => None,
        };
        loop {
            if whose == Whose::Adopted {
                self.until(|own| own == 0).await;
            }
            // Never closed.
            let permit = self.free.acquire().await.ok();
            if whose == Whose::Own || *self.own.borrow() == 0 {
                return Turn {
                    turns: self,
                    whose,
                    _permit: permit,
                    _announced: announced,
                };
            }
        }
    }

    async fn until(&self, condition: impl Fn(usize) -> bool) {
        // An error would say that the sender is gone, which is ourselves.
        drop(self.own.subscribe().wait_for(|own| condition(*own)).await);
    }
}

impl Turn<'_> {
    /// Waits until a dump of our own comes to take the place of an adopted one.
    pub async fn is_wanted_back(&self) {
        match self.whose {
            Whose::Own => pending().await,
            Whose::Adopted => self.turns.until(|own| own > 0).await,
        }
    }
}

impl<'a> Announced<'a> {
    fn new(own: &'a watch::Sender<usize>) -> Self {
        own.send_modify(|own| *own += 1);
        Self(own)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|own| *own = own.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_at_a_time_and_an_own_one_asks_the_adopted_one_to_go() {
        let turns = Turns::default();
        let adopted = turns.take(Whose::Adopted).now_or_never().unwrap();
        assert!(adopted.is_wanted_back().now_or_never().is_none());
        let mut own = Box::pin(turns.take(Whose::Own));
        assert!(own.as_mut().now_or_never().is_none());
        assert!(adopted.is_wanted_back().now_or_never().is_some());
        drop(adopted);
        let own = own.now_or_never().unwrap();
        assert!(own.is_wanted_back().now_or_never().is_none());
        let mut next = Box::pin(turns.take(Whose::Adopted));
        assert!(next.as_mut().now_or_never().is_none());
        drop(own);
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn an_adopted_one_that_waited_first_lets_an_own_one_go_before_it() {
        let turns = Turns::default();
        let working = turns.take(Whose::Adopted).now_or_never().unwrap();
        let mut adopted = Box::pin(turns.take(Whose::Adopted));
        assert!(adopted.as_mut().now_or_never().is_none());
        let mut own = Box::pin(turns.take(Whose::Own));
        assert!(own.as_mut().now_or_never().is_none());
        drop(working);
        assert!(adopted.as_mut().now_or_never().is_none());
        assert!(own.as_mut().now_or_never().is_some());
    }

    #[test]
    fn whoever_gives_up_waiting_keeps_nobody() {
        let turns = Turns::default();
        let adopted = turns.take(Whose::Adopted).now_or_never().unwrap();
        let mut own = Box::pin(turns.take(Whose::Own));
        assert!(own.as_mut().now_or_never().is_none());
        drop(own);
        assert!(adopted.is_wanted_back().now_or_never().is_none());
        drop(adopted);
        assert!(turns.take(Whose::Adopted).now_or_never().is_some());
    }
}

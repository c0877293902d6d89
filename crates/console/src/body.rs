//! The body of a request, within limits of size and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use crate::connections::Place;

/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Why a body wasn't read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body has more than {0} bytes")]
    TooLong(usize),
    #[error("the body broke off")]
    BrokeOff,
    #[error("the body didn't come within {} s", BODY_TIME.as_secs())]
    TooSlow,
}

/// A body as it comes. Once it is whole, its connection is served.
pub(crate) struct RequestBody {
    incoming: Incoming,
    place: Arc<Place>,
}

impl RequestBody {
    pub(crate) fn of(incoming: Incoming, place: Arc<Place>) -> Self {
        let body = Self { incoming, place };
        body.served_if_whole();
        body
    }

    fn served_if_whole(&self) {
        if self.incoming.is_end_stream() {
            self.place.is_served();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match frame {
            None => self.place.is_served(),
            Some(Ok(_)) => self.served_if_whole(),
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The whole body, of at most so many bytes. What is announced as longer isn't read.
///
/// # Errors
/// [`BodyError`].
pub(crate) async fn read(body: RequestBody, most: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyError::TooLong(most));
    }
    match timeout(BODY_TIME, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong(most)),
        Ok(Err(_)) => Err(BodyError::BrokeOff),
        Err(_) => Err(BodyError::TooSlow),
    }
}

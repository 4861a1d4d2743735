//! `client_certificate`: who showed none in the handshake is refused.

use std::ops::ControlFlow;

use super::{Asked, BeforeAuth};
use crate::model::{Api, Certificates};
use crate::proxy::respond::Rejection;

struct Required;

pub(super) fn row(api: &Api) -> Option<Box<dyn BeforeAuth>> {
    (api.client_certificate == Certificates::Required).then(|| Box::new(Required) as Box<dyn BeforeAuth>)
}

impl BeforeAuth for Required {
    fn apply(&self, asked: &Asked<'_>) -> ControlFlow<Rejection> {
        match &asked.over.certificate {
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(Rejection::NoCertificate),
        }
    }
}

//! Where a request may carry its key: found there, and taken out once it passed.

use std::borrow::Cow;

use hyper::header::{AUTHORIZATION, HeaderName};

use super::super::presented::{Single, behind_scheme, looks_like_jws};
use super::super::{Presented, Reason};
use super::{cookie, query};
use crate::model::KeyPlace;

/// [`KeyPlace`], ready for requests.
pub(super) enum Place {
    /// `Authorization: Bearer KEY`, and where `bare`, `Authorization: KEY`.
    Authorization {
        bare: bool,
        /// What looks like a JWT is another scheme's.
        leaves_jws: bool,
    },
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
}

/// What stands at a place.
pub(super) enum Found<'a> {
    Nothing,
    Key(Cow<'a, [u8]>),
    Several,
}

impl Place {
    /// None for a name that configuration lets not through.
    pub fn of(place: &KeyPlace, leaves_jws: bool) -> Option<Self> {
        Some(match place {
            KeyPlace::Authorization => Self::Authorization { bare: true, leaves_jws },
            KeyPlace::Bearer => Self::Authorization { bare: false, leaves_jws },
            KeyPlace::Header(name) => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            KeyPlace::Query(name) => Self::Query((&**name).into()),
            KeyPlace::Cookie(name) => Self::Cookie((&**name).into()),
        })
    }

    pub fn find<'a>(&self, presented: &'a Presented<'_>) -> Found<'a> {
        match self {
            Self::Authorization { bare, leaves_jws } => match presented.single(&AUTHORIZATION) {
                Ok(Single::None) => Found::Nothing,
                Ok(Single::One(line)) => {
                    let line = line.as_bytes();
                    let whole = || (*bare && !line.contains(&b' ')).then_some(line);
                    let key = behind_scheme(line, "Bearer").or_else(whole);
                    key.filter(|key| !(*leaves_jws && looks_like_jws(key))).into()
                }
                Err(reason) => reason.into(),
            },
            Self::Header(name) => match presented.single(name) {
                Ok(Single::None) => Found::Nothing,
                Ok(Single::One(line)) => Some(line.as_bytes().trim_ascii()).into(),
                Err(reason) => reason.into(),
            },
            Self::Query(name) => query::find(presented.uri.query().unwrap_or_default(), name),
            Self::Cookie(name) => cookie::find(presented.headers, name),
        }
    }

    pub fn strip(&self, presented: &mut Presented<'_>) {
        match self {
            Self::Authorization { .. } => {
                presented.headers.remove(AUTHORIZATION);
            }
            Self::Header(name) => {
                presented.headers.remove(name);
            }
            Self::Query(name) => query::strip(presented.uri, name),
            Self::Cookie(name) => cookie::strip(presented.headers, name),
        }
    }
}

impl<'a> From<Option<&'a [u8]>> for Found<'a> {
    fn from(key: Option<&'a [u8]>) -> Self {
        key.map_or(Found::Nothing, |key| Found::Key(Cow::Borrowed(key)))
    }
}

impl From<Reason> for Found<'_> {
    fn from(_: Reason) -> Self {
        Found::Several
    }
}

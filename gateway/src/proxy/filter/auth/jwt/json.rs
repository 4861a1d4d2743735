//! JSON of tokens and keys, stricter than serde_json by itself: an object at the top, a member's name
//! once (RFC 8725 section 2.4), a bounded depth, nothing behind it. What it costs to read is bounded by
//! its length.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Objects and lists inside each other, the outermost counted.
const DEPTH_MAX: u32 = 16;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i128),
    /// Written with a point or an exponent.
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(BTreeMap<String, Json>);

impl Object {
    /// None: not JSON, or not as strict as it must be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Depth(DEPTH_MAX).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        match value {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// By its name, or along a path of names with dots between them.
    pub fn find(&self, path: &str) -> Option<&Json> {
        if let Some(value) = self.get(path) {
            return Some(value);
        }
        let (first, rest) = path.split_once('.')?;
        match self.get(first)? {
            Json::Object(inner) => inner.find(rest),
            _ => None,
        }
    }
}

impl Json {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// One text, or a list of nothing else.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Text(text) => Some(vec![text]),
            Self::List(list) => list.iter().map(Self::text).collect(),
            _ => None,
        }
    }
}

/// How many more levels may open.
struct Depth(u32);

impl Depth {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let deeper = self.deeper::<A::Error>()?.0;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Depth(deeper))? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let deeper = self.deeper::<A::Error>()?.0;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Depth(deeper))?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name twice"));
            }
        }
        Ok(Json::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_read_otherwise_is_refused() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":1} x"#,
            r#"{"a":1}{"a":1}"#,
            r#"{"a":1} // said"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            r#"{"a":01}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\u{1}\"}",
            "[]",
            "1",
            "",
            &deep(16),
        ] {
            assert_eq!(Object::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Object::parse(b"{\"a\":\"\xff\"}"), None);
        assert!(Object::parse(deep(15).as_bytes()).is_some());
    }

    #[test]
    fn names_stand_for_themselves_before_they_are_paths() {
        let object = Object::parse(br#"{"a.b":1,"a":{"b":2,"c":{"d":3}}}"#).unwrap();
        for (path, value) in [("a.b", Some(1)), ("a.c.d", Some(3)), ("a.x", None), ("a.b.c", None)] {
            assert_eq!(object.find(path), value.map(Json::Integer).as_ref(), "{path}");
        }
    }
}

//! A strict reader of JSON (RFC 8259), for the checker's output.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a whole text. Panics if it isn't JSON.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut characters = text.trim_end().chars().peekable();
        let value = value(&mut characters).unwrap_or_else(|| panic!("not JSON: {text}"));
        assert_eq!(characters.next(), None, "after the JSON: {text}");
        value
    }

    /// A member of an object, or `Null`.
    pub fn get(&self, name: &str) -> &Self {
        let Self::Object(members) = self else { panic!("no object: {self:?}") };
        members.iter().find(|(key, _)| key == name).map_or(&Self::Null, |(_, value)| value)
    }

    pub fn items(&self) -> &[Self] {
        let Self::List(items) = self else { panic!("no list: {self:?}") };
        items
    }

    pub fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("no text: {self:?}") };
        text
    }
}

type Input<'a> = Peekable<Chars<'a>>;

/// The checker writes no space between values.
fn value(input: &mut Input) -> Option<Json> {
    match input.peek()? {
        '{' => list(input, '}', |input| {
            let name = text(input)?;
            (input.next()? == ':').then_some((name, value(input)?))
        })
        .map(Json::Object),
        '[' => list(input, ']', value).map(Json::List),
        '"' => text(input).map(Json::Text),
        '0'..='9' => word(input).parse().ok().map(Json::Number),
        _ => match &*word(input) {
            "null" => Some(Json::Null),
            "true" => Some(Json::Bool(true)),
            "false" => Some(Json::Bool(false)),
            _ => None,
        },
    }
}

fn word(input: &mut Input) -> String {
    std::iter::from_fn(|| input.next_if(char::is_ascii_alphanumeric)).collect()
}

fn list<T>(input: &mut Input, end: char, item: impl Fn(&mut Input) -> Option<T>) -> Option<Vec<T>> {
    let mut items = Vec::new();
    input.next()?;
    if input.next_if_eq(&end).is_some() {
        return Some(items);
    }
    loop {
        items.push(item(input)?);
        match input.next()? {
            ',' => {}
            other => return (other == end).then_some(items),
        }
    }
}

fn text(input: &mut Input) -> Option<String> {
    let mut text = String::new();
    input.next_if_eq(&'"')?;
    loop {
        match input.next()? {
            '"' => return Some(text),
            '\\' => text.push(escaped(input)?),
            '\0'..='\x1f' => return None,
            other => text.push(other),
        }
    }
}

fn escaped(input: &mut Input) -> Option<char> {
    match input.next()? {
        'n' => Some('\n'),
        'u' => {
            let digits: String = input.take(4).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        }
        other @ ('"' | '\\') => Some(other),
        _ => None,
    }
}

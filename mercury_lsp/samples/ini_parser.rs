//! A parser for INI files: sections, `key = value` pairs, comments and quoted values.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    Syntax { line: usize, message: String },
    Missing { section: String, key: String },
    Invalid { section: String, key: String, value: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "cannot read the file: {}", error),
            Error::Syntax { line, message } => write!(f, "line {}: {}", line, message),
            Error::Missing { section, key } => write!(f, "[{}] lacks {}", section, key),
            Error::Invalid { section, key, value } => {
                write!(f, "[{}] {} has the invalid value {:?}", section, key, value)
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Section {
    values: BTreeMap<String, String>,
}

impl Section {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.values.insert(key.to_string(), value.to_string());
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Ini {
    sections: BTreeMap<String, Section>,
}

impl Ini {
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)?;
        text.parse()
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    pub fn section_mut(&mut self, name: &str) -> &mut Section {
        self.sections.entry(name.to_string()).or_default()
    }

    pub fn get<T: FromStr>(&self, section: &str, key: &str) -> Result<T, Error> {
        let value = self
            .section(section)
            .and_then(|found| found.get(key))
            .ok_or_else(|| Error::Missing {
                section: section.to_string(),
                key: key.to_string(),
            })?;
        value.parse().map_err(|_| Error::Invalid {
            section: section.to_string(),
            key: key.to_string(),
            value: value.to_string(),
        })
    }
}

impl FromStr for Ini {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ini = Ini::default();
        let mut current = String::new();
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| Error::Syntax {
                    line: index + 1,
                    message: "the section's name is not closed".to_string(),
                })?;
                current = name.trim().to_string();
                ini.section_mut(&current);
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| Error::Syntax {
                line: index + 1,
                message: format!("expected key = value, found {:?}", line),
            })?;
            ini.section_mut(&current).set(key.trim(), unquote(value.trim()));
        }
        Ok(ini)
    }
}

impl fmt::Display for Ini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, section) in &self.sections {
            if !name.is_empty() {
                writeln!(f, "[{}]", name)?;
            }
            for (key, value) in &section.values {
                writeln!(f, "{} = {}", key, value)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sections_and_values() {
        let ini: Ini = "[server]\nhost = \"localhost\"\nport = 8080\n".parse().unwrap();
        assert_eq!(ini.get::<String>("server", "host").unwrap(), "localhost");
        assert_eq!(ini.get::<u16>("server", "port").unwrap(), 8080);
    }

    #[test]
    fn names_the_line_of_an_error() {
        let error = "[server]\nhost\n".parse::<Ini>().unwrap_err();
        assert!(error.to_string().starts_with("line 2"));
    }
}

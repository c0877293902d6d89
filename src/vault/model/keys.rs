//! What the model test asks of the keys: which version wraps a file, and what a disabled key shuts.

use super::content;
use super::errno;
use super::run::{Run, SECOND};
use super::state::{Body, Id};
use crate::ids::{AliasName, Ino};
use crate::storage::Errno;
use crate::vault::testing::{READ_WRITE, me};
use crate::vault::{FileKind, SetAttr};

impl Run {
    /// The aliases under which a file's first header may come: of the directories that it is in.
    fn aliases_of(&self, id: Id) -> Vec<AliasName> {
        let names = self.model.names_of(id);
        let mut aliases: Vec<_> = names.iter().map(|entry| self.model.alias(entry.dir)).collect();
        if aliases.is_empty() {
            aliases.push(None);
        }
        let parsed = |alias: Option<String>| {
            alias.map_or_else(AliasName::default_alias, |alias| alias.parse().unwrap())
        };
        aliases.into_iter().map(parsed).collect()
    }

    /// A file is about to have a handle, the first one if it has none.
    pub(super) fn note_where_found(&mut self, id: Id) {
        if self.handle_of(id).is_none() {
            self.found_under.insert(id, self.aliases_of(id));
        }
    }

    /// A header that was made now bears the version that is current now: of the alias of the file's header before it,
    /// if this mount has seen that, else of a directory that it is in, or was in when it was opened.
    pub(super) fn check_new_header(&mut self, id: Id, ino: Ino) {
        let info = self.vault().file_header_info(ino).unwrap().unwrap();
        let alias = self.alias_of_file(ino);
        let current = self.test.keys().current(&alias).unwrap();
        assert_eq!(info.backing, current, "{alias}");
        match self.follows.get(&id) {
            Some(before) => assert_eq!(alias, *before),
            None => {
                let opened = self.handle_of(id).and_then(|_| self.found_under.get(&id).cloned());
                assert!(opened.unwrap_or_else(|| self.aliases_of(id)).contains(&alias), "{alias}");
            }
        }
        self.follows.insert(id, alias);
    }

    fn alias_of_file(&self, ino: Ino) -> AliasName {
        let alias = self.vault().getxattr(ino, b"user.rekeyfs.alias").unwrap();
        std::str::from_utf8(&alias).unwrap().parse().unwrap()
    }

    /// What empty files followed is not known to the next mount.
    pub(super) fn forget_empty_ones(&mut self) {
        let nodes = &self.model.nodes;
        self.follows.retain(|id, _| match nodes.get(id).map(|node| &node.body) {
            Some(Body::File(bytes)) => !bytes.is_empty(),
            _ => false,
        });
    }

    pub(super) fn rewrap_all(&mut self) {
        let files = self.entries_of(|kind| kind == FileKind::Regular);
        let files: Vec<(Id, Ino)> = files.iter().map(|e| (e.id.unwrap(), self.ino(e, false))).collect();
        let vault = self.vault();
        let inos: Vec<Ino> = files.iter().map(|(_, ino)| *ino).collect();
        let times = || inos.iter().map(|ino| vault.getattr(*ino).unwrap().mtime).collect::<Vec<_>>();
        let before = times();
        assert_eq!(vault.rewrap_batch(&inos).failed, []);
        assert_eq!(times(), before);
        for (id, ino) in files {
            let Some(info) = vault.file_header_info(ino).unwrap() else { continue };
            assert!(!info.stale);
            // Moved, linked, its directory given another alias: it follows the one that it has.
            let alias = self.alias_of_file(ino);
            assert_eq!(self.test.keys().current(&alias).unwrap(), info.backing);
            assert!(self.follows.get(&id).is_none_or(|known| *known == alias));
        }
    }

    /// A disabled key opens no file, and none is created under it; files of other keys, names and attributes
    /// don't notice; enabled again, it opens what it did.
    pub(super) fn disable_for_a_while(&mut self) {
        let files = self.entries_of(|kind| kind == FileKind::Regular);
        let files: Vec<(Id, Ino)> = files.iter().map(|e| (e.id.unwrap(), self.ino(e, false))).collect();
        let dirs: Vec<(bool, Ino)> = self
            .model
            .dirs()
            .into_iter()
            .map(|(dir, _)| (self.model.alias(dir).as_deref() == Some(SECOND), self.dir_ino(dir)))
            .collect();
        let (vault, keys) = (self.vault(), self.test.keys().clone());
        let second = keys.current(&SECOND.parse().unwrap()).unwrap().key;
        keys.disable_key(second).unwrap();
        let inos: Vec<Ino> = files.iter().map(|(_, ino)| *ino).collect();
        for (id, ino) in files {
            let shut = vault.file_header_info(ino).unwrap().is_some_and(|info| info.backing.key == second);
            let size = vault.getattr(ino).unwrap().size;
            let new_size = SetAttr { size: Some(size), ..SetAttr::default() };
            if shut {
                assert_eq!(vault.open(ino, READ_WRITE, &me()).map_err(|e| errno(&e)), Err(Errno::NOKEY));
                assert_eq!(vault.setattr(ino, &new_size, &me()).map_err(|e| errno(&e)), Err(Errno::NOKEY));
                continue;
            }
            let handle = vault.open(ino, READ_WRITE, &me()).unwrap();
            let Body::File(bytes) = &self.model.nodes[&id].body else { continue };
            assert!(content(&vault, ino).unwrap() == *bytes, "content of a file of another key");
            vault.release(ino, handle).unwrap();
        }
        // Nothing moves to the key, or away from it: that isn't a failure.
        assert_eq!(vault.rewrap_batch(&inos).failed, []);
        for (shut, dir) in dirs {
            match vault.create(dir, b"while disabled", 0o600, READ_WRITE, &me()) {
                Ok((attr, handle)) => {
                    assert!(!shut);
                    vault.release(attr.ino, handle).unwrap();
                    vault.unlink(dir, b"while disabled").unwrap();
                    vault.forget(attr.ino, 1);
                }
                Err(e) => assert_eq!((errno(&e), shut), (Errno::NOKEY, true)),
            }
        }
        keys.enable_key(second).unwrap();
        self.check("after the key was enabled again");
    }
}

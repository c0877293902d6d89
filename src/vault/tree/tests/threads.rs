use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// What the kernel's own locks would keep apart is let loose here: nothing may hang, panic, or go astray.
#[test]
fn renames_lookups_and_removals_at_once() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    for d in ["p", "q"] {
        mkdir(&v, d);
    }
    mkdir(&v, "p/moving");
    write(&v, "p/moving/f", b"f");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (v, done) = (&*v, &done);
        scope.spawn(move || {
            for i in 0..300 {
                let (from, to) = if i % 2 == 0 { ("p/moving", "q/moving") } else { ("q/moving", "p/moving") };
                rename(v, from, to, PLAIN).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                v.tree.dirs.shrink();
                std::thread::yield_now();
            }
        });
        for thread in 0..3 {
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    for path in ["p/moving/f", "q/moving/f"] {
                        match find(v, path) {
                            Ok(ino) => {
                                v.getattr(ino).unwrap();
                                v.forget(ino, 1);
                            }
                            Err(Error::NotFound | Error::Stale) => {}
                            Err(e) => panic!("{path}: {e}"),
                        }
                    }
                    let name = format!("p/{thread} {round}");
                    write(v, &name, b"x");
                    rename(v, &name, &format!("q/{thread}"), PLAIN).unwrap();
                    v.readdir_all("q");
                }
            });
        }
    });
    drop(v);
    t.reopen();
    let (p, q) = (read(&t.vault, "p/moving/f"), read(&t.vault, "q/moving/f"));
    assert!(p.is_ok() ^ q.is_ok(), "{p:?} {q:?}");
    for thread in 0..3 {
        if let Ok(content) = read(&t.vault, &format!("q/{thread}")) {
            assert_eq!(content, b"x");
        }
    }
}

impl Vault {
    fn readdir_all(&self, path: &str) {
        let dir = find(self, path).unwrap();
        let handle = self.opendir(dir).unwrap();
        let mut inos = Vec::new();
        self.readdirplus(dir, handle, 0, &mut |attr, _, _| {
            inos.extend(attr.map(|attr| attr.ino));
            true
        })
        .unwrap();
        self.releasedir(dir, handle).unwrap();
        for ino in inos {
            self.forget(ino, 1);
        }
        self.forget(dir, 1);
    }
}

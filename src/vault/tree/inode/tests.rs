use super::*;

const FIRST: NodeGeneration = NodeGeneration(1);
const SECOND: NodeGeneration = NodeGeneration(2);

fn found(ino: u64, kind: FileKind, generation: NodeGeneration, entry: &[u8]) -> LookedUp<'_> {
    LookedUp {
        ino: Ino(ino),
        kind,
        generation,
        parent: Ino::ROOT,
        entry,
        made_now: false,
        links_elsewhere: None,
    }
}

fn dir(table: &Table, ino: u64, parent: Ino) -> Arc<Inode> {
    let entry = format!("d{ino}");
    let found = LookedUp { parent, ..found(ino, FileKind::Directory, FIRST, entry.as_bytes()) };
    table.remember(&found).unwrap().0
}

fn file(table: &Table, ino: u64, parent: Ino, entry: &str) -> Arc<Inode> {
    let found = LookedUp { parent, ..found(ino, FileKind::Regular, FIRST, entry.as_bytes()) };
    table.remember(&found).unwrap().0
}

#[test]
fn an_inode_is_forgotten_with_its_last_lookup() {
    let table = Table::new(8);
    file(&table, 10, Ino::ROOT, "a");
    file(&table, 10, Ino::ROOT, "a");
    assert!(table.forget(Ino(10), 1).is_none());
    assert!(table.find(Ino(10)).is_some());
    assert!(table.forget(Ino(10), 1).is_some());
    assert!(table.find(Ino(10)).is_none());
    assert_eq!(table.len(), 1, "the root stays");
    assert!(table.forget(Ino::ROOT, 100).is_none());
    assert!(table.find(Ino::ROOT).is_some());
}

#[test]
fn parents_stay_while_children_need_them() {
    let table = Table::new(8);
    dir(&table, 10, Ino::ROOT);
    dir(&table, 11, Ino(10));
    file(&table, 12, Ino(11), "f");
    assert!(table.forget(Ino(10), 1).is_none());
    assert!(table.forget(Ino(11), 1).is_none());
    assert_eq!(table.len(), 4);
    assert!(table.forget(Ino(12), 1).is_some());
    assert_eq!(table.len(), 1, "they go with the last child");
}

#[test]
fn forgetting_a_deep_path_does_not_recurse() {
    let table = Table::new(8);
    let deep = 200_000;
    for ino in 10..deep {
        dir(&table, ino, if ino == 10 { Ino::ROOT } else { Ino(ino - 1) });
    }
    for ino in 10..deep {
        table.forget(Ino(ino), 1);
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn hard_links_are_found_by_any_name() {
    let table = Table::new(8);
    dir(&table, 10, Ino::ROOT);
    let inode = file(&table, 20, Ino::ROOT, "a");
    file(&table, 20, Ino(10), "b");
    file(&table, 20, Ino(10), "b");
    assert_eq!(&*inode.entry_in(Ino(10)).unwrap(), b"b");
    table.remove_location(&inode, Ino::ROOT, b"a");
    assert_eq!(inode.parent(), Some(Ino(10)));
    table.move_location(&inode, (Ino(10), b"b"), (Ino::ROOT, b"c"));
    assert_eq!(inode.parent(), Some(Ino::ROOT));
    table.forget(Ino(10), 1);
    assert!(table.find(Ino(10)).is_none(), "no location names it any more");
    table.forget(Ino(20), 3);
    assert_eq!(table.len(), 1);
}

/// A rename finds the inode that it moves before the lower rename; the kernel may forget it meanwhile.
#[test]
fn an_inode_that_is_forgotten_while_it_is_moved_keeps_no_directory() {
    let table = Table::new(8);
    dir(&table, 10, Ino::ROOT);
    dir(&table, 11, Ino::ROOT);
    let forgotten = file(&table, 20, Ino(10), "a");
    table.forget(Ino(20), 1);
    assert!(!table.add_held(&forgotten, Ino(11), b"b", false), "nobody would take the name from it again");

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                file(&table, 20, Ino(10), "a");
                table.forget(Ino(20), 1);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            if let Some(inode) = table.find(Ino(20)) {
                table.move_location(&inode, (Ino(10), b"a"), (Ino(11), b"b"));
            }
        }
    });
    table.forget(Ino(10), 1);
    table.forget(Ino(11), 1);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_number_that_changed_its_kind_is_another_inode() {
    let table = Table::new(8);
    dir(&table, 10, Ino::ROOT);
    let old = file(&table, 20, Ino(10), "a");
    let new = table.remember(&found(20, FileKind::Directory, SECOND, b"b")).unwrap().0;
    assert!(old.location().is_none());
    assert_eq!(new.parent(), Some(Ino::ROOT));
    table.forget(Ino(10), 1);
    assert!(table.find(Ino(10)).is_none(), "nothing of the old one is left in it");
    assert!(table.forget(Ino(20), 1).is_none(), "the kernel's lookups of the old one count");
    assert!(table.forget(Ino(20), 1).is_some());
    let orphan = table.remember(&LookedUp { parent: Ino(99), ..found(21, FileKind::Regular, FIRST, b"a") });
    assert!(matches!(orphan, Err(Error::Stale)));
    assert_eq!(table.len(), 1);
}

/// A descriptor of something that has a file handle, if the filesystem of the test has any.
fn descriptor() -> OwnedFd {
    std::fs::File::open(".").unwrap().into()
}

#[test]
fn a_number_used_again_after_its_inode_was_replaced_is_another_inode() {
    let table = Table::new(8);
    let old = file(&table, 20, Ino::ROOT, "a");
    old.mark_replaced();
    table.strike_replaced(&old, Ino::ROOT, b"a", descriptor());
    assert!(matches!(table.get(Ino(20)), Err(Error::Stale)));
    let new = table.remember(&found(20, FileKind::Regular, SECOND, b"b")).unwrap().0;
    assert_eq!((old.generation, new.generation), (FIRST, SECOND));
    assert!(table.get(Ino(20)).is_ok());
    let same = table.remember(&found(20, FileKind::Regular, FIRST, b"b")).unwrap().0;
    assert_eq!(same.generation, SECOND, "never changed while it lives");
    assert!(table.forget(Ino(20), 2).is_none());
    assert!(table.forget(Ino(20), 1).is_some());
}

#[test]
fn pins_of_linked_inodes_are_bounded() {
    let table = Table::new(3);
    let inodes: Vec<_> = (20..26).map(|ino| file(&table, ino, Ino::ROOT, &format!("f{ino}"))).collect();
    for inode in &inodes {
        table.strike(inode, Ino::ROOT, format!("f{}", inode.ino).as_bytes(), descriptor(), Links::Others);
        assert!(inode.parent().is_none());
    }
    assert_eq!(inodes.iter().filter(|inode| inode.pin().fd().is_some()).count(), 3);
    assert!(inodes[5].pin().fd().is_some());
    if FileHandle::of(descriptor().as_fd(), b"").unwrap().is_some() {
        assert!(matches!(inodes[0].pin(), Pin::Handle(_)), "a way back is left");
    }
    file(&table, 25, Ino::ROOT, "again");
    inodes[5].unpin_if_named();
    assert!(matches!(inodes[5].pin(), Pin::None));
}

/// The lower filesystem would give its number to another file, which the kernel takes for this one.
#[test]
fn the_pin_of_an_inode_without_links_is_not_spared() {
    let table = Table::new(2);
    let inodes: Vec<_> = (20..30).map(|ino| file(&table, ino, Ino::ROOT, &format!("f{ino}"))).collect();
    for (n, inode) in inodes.iter().enumerate() {
        let links = if n == 9 { Links::None } else { Links::Others };
        table.strike(inode, Ino::ROOT, format!("f{}", inode.ino).as_bytes(), descriptor(), links);
    }
    // The other names go, of those that are pinned still and of those that aren't.
    for inode in &inodes {
        table.strike(inode, Ino::ROOT, b"other", descriptor(), Links::None);
    }
    for ino in 30..40 {
        let inode = file(&table, ino, Ino::ROOT, "a");
        table.strike(&inode, Ino::ROOT, b"a", descriptor(), Links::Others);
    }
    assert!(inodes.iter().all(|inode| matches!(inode.pin(), Pin::Gone(_))));
}

#[test]
fn an_inode_with_a_known_name_needs_no_pin() {
    let table = Table::new(2);
    let inode = file(&table, 20, Ino::ROOT, "a");
    file(&table, 20, Ino::ROOT, "b");
    table.strike(&inode, Ino::ROOT, b"a", descriptor(), Links::Others);
    assert!(matches!(inode.pin(), Pin::None));
    // Another thread has removed the last name, and not told yet.
    table.strike(&inode, Ino::ROOT, b"c", descriptor(), Links::None);
    assert!(matches!(inode.pin(), Pin::Gone(_)));
}

#[test]
fn lookups_and_forgets_race_without_losing_count() {
    let table = Table::new(8);
    dir(&table, 10, Ino::ROOT);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for i in 0..5_000_u64 {
                    let ino = 20 + (i + thread) % 3;
                    file(table, ino, Ino(10), &format!("f{ino}"));
                    table.forget(Ino(ino), 1);
                }
            });
        }
    });
    assert_eq!(table.len(), 2);
    table.forget(Ino(10), 1);
    assert_eq!(table.len(), 1);
}

#[test]
fn the_table_shrinks_with_what_it_knows() {
    let table = Table::new(8);
    let room = || table.shards.iter().map(|shard| shard.lock().capacity()).sum::<usize>();
    for ino in 10..30_000 {
        file(&table, ino, Ino::ROOT, &format!("f{ino}"));
    }
    let most = room();
    for ino in 110..30_000 {
        table.forget(Ino(ino), 1);
    }
    assert!(room() > most / 2, "it is left for the next ones");
    table.shrink();
    assert!(room() < most / 20, "{} of {most}", room());
    assert!((10..110).all(|ino| table.find(Ino(ino)).is_some()));
}

#[test]
fn an_inode_is_small() {
    // With its share of the table, twice its entries at worst, and the allocator's headers: 200 bytes.
    let entry = size_of::<(Ino, Arc<Inode>)>() + 1;
    let shared = size_of::<Inode>() + 2 * size_of::<usize>();
    assert!(shared + 8 + 8 + entry * 16 / 7 <= 200, "{shared} + {entry}");
}

/// The first to look it up may have given it some before its maker came to enter it.
#[test]
fn only_a_file_that_its_maker_enters_is_known_to_have_no_capabilities() {
    let table = Table::new(8);
    let may_have = |inode: &Inode| inode.may_have_capability.load(Ordering::Relaxed);
    let enter = |ino, entry| {
        let made = LookedUp { made_now: true, ..found(ino, FileKind::Regular, FIRST, entry) };
        table.remember(&made).unwrap().0
    };
    assert!(!may_have(&enter(10, b"a")));
    assert!(!may_have(&file(&table, 10, Ino::ROOT, "a")));
    assert!(may_have(&file(&table, 20, Ino::ROOT, "b")));
    assert!(may_have(&enter(20, b"b")));
}

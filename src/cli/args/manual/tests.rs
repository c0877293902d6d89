use super::*;

fn text_of(name: &str) -> String {
    let pages = manual();
    let page = pages.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("{name}: no page"));
    page.roff.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
}

/// Each command with the name of its page, hidden ones left out.
fn commands() -> Vec<(String, Command)> {
    fn collect(command: &Command, into: &mut Vec<(String, Command)>) {
        into.push((name_of(command).to_owned(), command.clone()));
        shown(command).for_each(|sub| collect(sub, into));
    }
    let mut all = Vec::new();
    for mut command in [Typed::command(), Fstab::command(), UmountHelper::command()] {
        command.build();
        collect(&command, &mut all);
    }
    all
}

#[test]
fn each_command_has_a_page_with_each_of_its_options_and_commands() {
    let commands = commands();
    assert!(commands.len() > 30, "{}", commands.len());
    for (name, command) in &commands {
        let text = text_of(name);
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let shown = match (option.get_long(), option.get_short()) {
                (Some(long), _) => format!("--{long}"),
                (None, Some(short)) => format!("-{short}"),
                (None, None) => option.get_value_names().map(|names| names.join(" ")).unwrap_or_default(),
            };
            assert!(!shown.is_empty() && text.contains(&shown), "{name}: {shown} is not in its page");
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name}: {shown} is not explained");
        }
        for sub in shown(command) {
            let page = format!("{}({})", name_of(sub), section_of(name_of(sub)));
            assert!(text.contains(&page), "{name}: {page} is not in its page");
        }
    }
}

#[test]
fn what_pages_refer_to_is_there() {
    let pages: Vec<String> = manual().iter().map(|page| format!("{}({})", page.name, page.section)).collect();
    for (name, _) in MORE {
        assert!(pages.iter().any(|page| page.starts_with(&format!("{name}("))), "{name}");
    }
    let own = |page: &&&str| page.contains("rekeyfs") && **page != "rekeyfs-vault(5)";
    for page in SEE_ALSO.iter().flat_map(|(_, others)| *others).filter(own) {
        assert!(pages.iter().any(|there| there == page), "{page}");
    }
}

#[test]
fn mount_options_are_explained() {
    let text = text_of("rekeyfs-mount");
    let explained = text.split(".SH ").find(|section| section.starts_with("MOUNT OPTIONS")).unwrap();
    for option in crate::cli::options::that_are_done() {
        let there = explained.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == option);
        assert!(there, "{option} is not explained in rekeyfs-mount(8)");
    }
}

#[test]
fn exit_statuses_are_in_the_first_page() {
    let text = text_of("rekeyfs");
    assert!(text.contains(".SH \"EXIT STATUS\"\n"), "{text}");
    for status in ["12\nwrong passphrase", "254\na kms verb was refused"] {
        assert!(text.contains(status), "{status}");
    }
    assert!(text_of("rekeyfs-fsck").contains("32\nstopped by SIGINT or SIGTERM"));
}

#[test]
fn a_page_s_name_is_a_line_for_apropos() {
    for page in manual() {
        let name = page.roff.split(".SH NAME\n").nth(1).unwrap().lines().next().unwrap();
        assert!(name.contains(" \\- "), "{name}");
        assert!(name.len() < 120 && !name.ends_with('.'), "{}: {name}", page.name);
    }
    assert_eq!(in_short("Unmount; returns when the daemon is gone"), "unmount");
}

#[test]
fn code_is_bold_and_a_lone_backtick_stays() {
    assert_eq!(with_code_in_bold("a `b c` d\n"), "a \\fBb c\\fR d\n");
    assert_eq!(with_code_in_bold("a ` b\n"), "a \\(ga b\n");
}

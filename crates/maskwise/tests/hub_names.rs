//! Properties of the names that become paths and addresses.

use std::path::{Component, Path};

use maskwise::hub::{RepoId, RepoReference};
use proptest::prelude::*;

proptest! {
    /// Whatever is accepted can be written back, and is one plain component of a path.
    #[test]
    fn accepted_repositories_are_safe(text in "\\PC{0,40}|[a-zA-Z0-9._/@-]{1,30}|[a-c.-]{1,4}/[a-c.-]{1,4}") {
        if let Ok(reference) = text.parse::<RepoReference>() {
            let folder = reference.repo().folder_name();
            let parts: Vec<_> = Path::new(&folder).components().collect();
            prop_assert!(matches!(parts[..], [Component::Normal(_)]), "{folder}");
            prop_assert_eq!(folder.matches("--").count(), 2, "the folder leads back to one repository only");
            prop_assert_eq!(reference.to_string().parse::<RepoReference>().unwrap(), reference.clone());
            let stays = Path::new(reference.revision()).components().all(|part| matches!(part, Component::Normal(_)));
            prop_assert!(stays, "{}", reference.revision());
        }
    }

    /// What the hub allows is accepted.
    #[test]
    fn ordinary_names_are_accepted(
        organisation in "[A-Za-z0-9]{1,8}([-_.][A-Za-z0-9]{1,8}){0,3}",
        name in "[A-Za-z0-9]{1,8}([-_.][A-Za-z0-9]{1,8}){0,3}x",
        revision in "[A-Za-z0-9]{1,8}([-_./][A-Za-z0-9]{1,8}){0,3}x",
    ) {
        let reference: RepoReference = format!("{organisation}/{name}@{revision}").parse().unwrap();
        prop_assert_eq!(reference.repo().organisation(), &organisation);
        prop_assert_eq!(reference.repo().name(), &name);
        prop_assert_eq!(reference.revision(), &revision);
        let plain: RepoId = format!("{organisation}/{name}").parse().unwrap();
        prop_assert_eq!(&plain, reference.repo());
    }
}

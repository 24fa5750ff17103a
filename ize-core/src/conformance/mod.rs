//! The suite that any storage backend runs: one named check per promise of [`FileSystemStorage`].
//!
//! # Running it
//! Add ize-core with the feature `conformance` to your dev-dependencies, say with a [`Fixture`] how a store is made and
//! reopened, and write one line:
//!
//! ```
//! # #![allow(dead_code)]
//! use std::sync::Arc;
//!
//! use ize_core::conformance::Fixture;
//! use ize_core::storage::{FileSystemStorage, MemoryStorage};
//!
//! struct Memory(MemoryStorage);
//!
//! impl Fixture for Memory {
//!     fn store(&self) -> &dyn FileSystemStorage {
//!         &self.0
//!     }
//!
//!     fn reopen(&mut self) {} // What is in memory only cannot be reopened.
//! }
//!
//! ize_core::conformance!(|| Memory(MemoryStorage::new()));
//! ```
//!
//! The macro's argument is called without arguments and returns a fixture with an empty store, once per test. The tests
//! come in modules named after the parts of this one; put the line into a module of its own if those names are taken.
//! Without a test harness, go through [`CHECKS`].
//!
//! [`LogBuilder`] makes valid operations, for own tests and benchmarks as well; [`Workload`] makes random ones;
//! [`assert_same`] compares all that two stores answer.

pub mod branch;
pub mod commit;
mod compare;
pub mod content;
mod fixture;
pub mod history;
pub mod hole;
pub mod limit;
pub mod link;
mod log;
pub mod metadata;
pub mod model;
pub mod moment;
pub mod namespace;
pub mod page;
mod probe;
pub mod reopen;
pub mod snapshot;
mod tree;
mod workload;
pub mod xattr;

#[cfg(doc)]
use crate::storage::FileSystemStorage;

pub use compare::{assert_same, assert_same_views};
pub use fixture::{Check, Fixture};
pub use log::LogBuilder;
pub use workload::Workload;

/// Makes one `#[test]` of every check; see [`mod@crate::conformance`].
#[macro_export]
macro_rules! conformance {
    ($factory:expr) => {
        $crate::__conformance_checks! { __conformance_tests ($factory) }
    };
}

/// Turns the list of checks into tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($factory:expr) $($module:ident { $($check:ident)* })*) => {
        $(mod $module {
            #[allow(unused_imports)]
            use super::*;

            $(#[test]
            fn $check() {
                let mut fixture = ($factory)();
                $crate::conformance::$module::$check(&mut fixture);
            })*
        })*
    };
}

/// Turns the list of checks into [`CHECKS`].
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_array {
    (() $($module:ident { $($check:ident)* })*) => {
        &[$($($crate::conformance::Check {
            name: concat!(stringify!($module), "::", stringify!($check)),
            run: $crate::conformance::$module::$check,
        },)*)*]
    };
}

/// All checks.
pub const CHECKS: &[Check] = crate::__conformance_checks! { __conformance_array () };

/// The list of checks, handed to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ($then:ident $argument:tt) => {
        $crate::$then! {
            $argument
                namespace {
                    an_empty_store_is_an_empty_root
                    created_things_are_listed_with_their_kinds
                    removed_names_are_gone_and_stay_in_the_past
                    renames_move_names
                    a_renamed_folder_takes_its_content_along
                    a_replaced_file_is_gone_and_stays_in_the_past
                    exchanged_entries_change_places
                    names_can_be_used_again
                    names_are_bytes
                    unknown_things_are_nothing
                }
                content {
                    every_version_reads_as_it_was
                    reads_are_short_only_at_the_end
                    truncated_bytes_do_not_come_back
                    small_writes_add_up
                    copies_are_of_their_moment
                    equal_content_is_not_shared_fate
                    large_data_comes_back
                    a_creation_can_bring_content
                    only_files_and_symlinks_have_content
                }
                metadata {
                    every_touched_inode_is_kept_at_every_moment
                    extreme_values_come_back
                    attribute_operations_leave_content_alone
                    the_root_has_metadata_too
                    the_head_knows_the_highest_file
                }
                xattr {
                    every_version_of_a_value_stays
                    attributes_come_ordered_by_name
                    values_can_be_empty_and_large
                    attributes_belong_to_the_file
                }
                link {
                    a_file_can_have_several_names
                    a_file_lives_as_long_as_one_name
                    replacing_one_name_leaves_the_others
                    a_symlink_holds_its_target
                }
                hole {
                    writes_behind_the_end_leave_holes
                    truncation_makes_and_cuts_holes
                    punched_ranges_are_holes
                    written_zeros_are_data
                    copies_keep_holes
                    extents_begin_where_asked
                }
                history {
                    operations_come_back_whole
                    queries_are_bounded_on_both_sides
                    a_file_has_its_own_operations
                    landmarks_can_be_asked_for_alone
                    bindings_tell_what_an_entry_named
                    the_history_of_a_path_follows_renames
                    the_history_of_a_path_goes_on_before_a_save
                    deleted_paths_keep_their_history
                }
                moment {
                    the_tree_reads_as_it_was_at_every_landmark
                    a_view_beyond_the_head_is_the_head
                    a_time_is_the_last_operation_until_then
                    clocks_that_go_backwards_do_no_harm
                    a_path_reads_as_it_was_at_a_time
                    changes_between_moments_are_found
                    landmarks_can_be_told_later
                }
                snapshot {
                    a_snapshot_stays_as_it_was
                    names_come_ordered_and_go
                    a_snapshot_of_nowhere_is_refused
                    a_name_in_use_is_not_taken_over
                }
                branch {
                    branches_do_not_see_each_other
                    a_branch_shares_its_parents_past
                    branches_of_branches_see_the_whole_line
                    history_on_a_branch_is_its_own_and_inherited
                    a_snapshot_can_be_forked
                    unknown_branches_are_refused
                    impossible_branches_are_refused
                }
                page {
                    folders_are_listed_in_pages
                    a_listing_goes_on_while_the_present_changes
                    the_log_comes_in_pages
                    extents_come_in_pages
                }
                commit {
                    an_empty_batch_is_nothing
                    gaps_are_refused
                    a_batch_is_stored_whole_or_not_at_all
                    references_are_refused
                    data_of_the_wrong_length_is_refused
                    landmarks_of_nothing_are_refused
                    merged_operations_take_effect_at_their_last_id
                    large_batches_are_stored
                    readers_see_whole_batches
                }
                reopen {
                    the_log_goes_on_after_reopening
                    an_empty_store_reopens_empty
                    a_healthy_store_verifies
                    the_store_says_what_it_is
                }
                limit {
                    names_can_be_255_arbitrary_bytes
                    paths_can_be_64_deep
                    folders_can_hold_100_000_entries
                    a_sparse_tebibyte_costs_nothing
                }
                model {
                    a_random_log_reads_like_the_model
                    a_random_log_in_single_operations_reads_like_the_model
                    a_random_log_with_branches_reads_like_the_model
                    a_random_log_survives_reopening
                }
        }
    };
}

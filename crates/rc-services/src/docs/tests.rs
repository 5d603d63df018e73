mod api;
mod common_words;
mod contract;
mod cursors;
mod isolation;
mod rebuild;
mod service;
mod world;

use world::World;

/// One suite, both stores.
macro_rules! on_both_stores {
    ($($suite:ident :: $name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$suite::$name(&super::World::sqlite().await).await;
            })+
        }
        mod live_on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$suite::$name(&super::World::postgres().await).await;
            })+
        }
    };
}

on_both_stores!(
    contract::a_document_comes_back_as_it_was_put,
    contract::a_change_counts_once_whatever_comes_again,
    contract::an_event_that_cannot_be_read_stops_the_batch,
    contract::a_batch_that_does_not_follow_is_refused_whole,
    contract::a_replay_repairs_and_never_takes_back,
    contract::a_deleted_document_is_not_found,
    contract::an_update_ranks_anew,
    contract::hit_sets_are_those_of_the_definition,
    contract::random_queries_agree_with_the_definition,
    contract::a_match_in_the_title_comes_first,
    contract::pages_are_complete_and_without_doubles,
    contract::filters_and_times_narrow_a_search,
    contract::missing_documents_are_named_until_they_are_there,
    contract::long_documents_are_found,
    contract::syntax_of_the_engines_is_only_text,
    contract::random_text_is_a_query_or_a_fault_of_its_own,
    isolation::a_tenant_sees_only_its_own,
    isolation::foreign_documents_change_neither_ranking_nor_latency,
    api::a_document_is_served_with_validators,
    api::a_missing_document_and_anothers_look_the_same,
    api::ids_are_decoded_once,
    api::a_search_is_served_page_by_page,
    api::bad_input_is_refused_with_a_reason,
    api::marks_are_ours_and_the_rest_is_escaped,
    api::a_wait_ends_when_the_documents_are_there,
    api::sizes_are_those_of_the_events,
    api::equal_reads_at_the_same_time_share_nothing_between_tenants,
);

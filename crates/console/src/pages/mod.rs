//! The pages: one table of their addresses below the session's path ([`ROUTES`]), a function for each. A GET shows
//! something and changes nothing. A POST changes something and leads to a page that shows it, or shows its form again with
//! what was typed and why that was refused.

mod activity;
mod aliases;
mod chart;
mod create;
mod key;
mod key_view;
mod keys;
pub(crate) mod layout;
mod policy;
mod question;
mod retire;
mod rotation;
mod tags;
#[cfg(test)]
mod testing;
mod usable;
mod vault;
mod versions;
mod work;

use std::future::Future;
use std::pin::Pin;

use hyper::Method;
use rekeyfs::ids::KeyId;

use crate::app::Console;
use crate::request::{Outcome, Request};

type Pending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
type Handler = for<'a> fn(&'a Console, &'a Request) -> Pending<'a>;

/// One address.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Its segments; `{key}` stands for a key's id.
    path: &'static str,
    pub(crate) page: Handler,
}

macro_rules! routes {
    ($($method:ident $path:literal => $page:path;)*) => {
        /// All of them.
        const ROUTES: &[Route] = &[
            $(Route { method: Method::$method, path: $path, page: |console, request| Box::pin($page(console, request)) },)*
        ];
    };
}

routes! {
    GET "activity" => activity::show;
    GET "vault" => vault::show;
    GET "jobs" => work::job;
    GET "keys" => keys::list;
    GET "keys/create" => create::form;
    POST "keys/create" => create::create;
    GET "keys/{key}" => key::show;
    POST "keys/{key}/count" => work::count;
    POST "keys/{key}/rewrap" => work::rewrap;
    POST "keys/{key}/stop" => work::stop;
    GET "keys/{key}/versions/retire" => retire::retire_form;
    POST "keys/{key}/versions/retire" => retire::retire;
    GET "keys/{key}/versions/trim" => retire::trim_form;
    POST "keys/{key}/versions/trim" => retire::trim;
    POST "keys/{key}/versions/restore" => retire::restore;
    GET "keys/{key}/description" => key::describe_form;
    POST "keys/{key}/description" => key::describe;
    POST "keys/{key}/aliases" => key::create_alias;
    GET "keys/{key}/aliases/move" => aliases::move_form;
    POST "keys/{key}/aliases/move" => aliases::move_to;
    GET "keys/{key}/aliases/delete" => aliases::delete_form;
    POST "keys/{key}/aliases/delete" => aliases::delete;
    GET "keys/{key}/policy" => policy::show;
    GET "keys/{key}/policy/edit" => policy::edit_form;
    POST "keys/{key}/policy/edit" => policy::edit;
    POST "keys/{key}/rotation" => key::schedule_rotation;
    POST "keys/{key}/rotate" => key::rotate;
    POST "keys/{key}/tags" => key::add_tag;
    POST "keys/{key}/tags/remove" => key::remove_tag;
    POST "keys/{key}/enable" => key::enable;
    GET "keys/{key}/disable" => usable::disable_form;
    POST "keys/{key}/disable" => usable::disable;
    GET "keys/{key}/deletion" => usable::deletion_form;
    POST "keys/{key}/deletion" => usable::schedule_deletion;
    POST "keys/{key}/deletion/cancel" => key::cancel_deletion;
    GET "keys/{key}/material" => usable::material_form;
    POST "keys/{key}/material" => usable::delete_material;
}

/// What an address below the session's path leads to.
pub(crate) enum Found {
    /// This, for this key.
    Page(&'static Route, Option<KeyId>),
    /// Nothing by this method; by the other.
    Not(&'static Method),
    /// Nothing.
    Nothing,
}

/// What an address leads to.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let mut other = Found::Nothing;
    for route in ROUTES {
        if let Some(key) = route.key_of(path) {
            if route.method == *method {
                return Found::Page(route, key);
            }
            other = Found::Not(&route.method);
        }
    }
    other
}

impl Route {
    /// Whether a path is this one's, with the key that it names.
    fn key_of(&self, path: &str) -> Option<Option<KeyId>> {
        let (mut wanted, mut given) = (self.path.split('/'), path.split('/'));
        let mut key = None;
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(key),
                (Some("{key}"), Some(id)) => key = Some(id.parse().ok()?),
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;

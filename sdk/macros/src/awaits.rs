//! Journaling of state at every `.await` of an exclusive flow.
//!
//! `operand.await` becomes: evaluate the operand, hand `&*self` to the attempt, await. The changes made up to here,
//! including those made by the operand's own expression, are then journaled together with the operation.
//! An operand that borrows the whole of `self` (`self.helper(cx).await`) leaves nothing to hand over afterwards; there
//! the state is handed over before the operand is evaluated.

use quote::quote;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprAsync, ExprAwait, ExprClosure, ExprField, Item, Macro};

/// Rewrites the `.await`s written directly in `body`.
pub(crate) fn rewrite(body: &mut Block) {
    Rewriter.visit_block_mut(body);
}

struct Rewriter;

impl VisitMut for Rewriter {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        visit_mut::visit_expr_mut(self, expression);
        let Expr::Await(ExprAwait { attrs, base, .. }) = expression else { return };
        let hand_over = quote!(::abide::__private::macro_support::at_await(&*self));
        let rewritten = if borrows_self(base) {
            quote!(#(#attrs)* { #hand_over; #base.await })
        } else {
            // A `match` keeps the operand's temporaries alive as long as `.await` would.
            quote!(#(#attrs)* match ::core::future::IntoFuture::into_future(#base) {
                __abide_operation => { #hand_over; __abide_operation.await }
            })
        };
        *expression = Expr::Verbatim(rewritten);
    }

    fn visit_expr_closure_mut(&mut self, _: &mut ExprClosure) {}

    fn visit_expr_async_mut(&mut self, _: &mut ExprAsync) {}

    fn visit_item_mut(&mut self, _: &mut Item) {}

    fn visit_macro_mut(&mut self, _: &mut Macro) {}
}

/// Whether the value of `operand` may borrow all of `self`, or a part of it mutably.
fn borrows_self(operand: &Expr) -> bool {
    let mut search = SelfSearch { found: false };
    search.visit_expr_mut(&mut operand.clone());
    search.found || is_self(root(operand))
}

/// What a chain of method calls and fields starts with.
fn root(expression: &Expr) -> &Expr {
    match expression {
        Expr::MethodCall(call) => root(&call.receiver),
        Expr::Field(field) => root(&field.base),
        Expr::Paren(inner) => root(&inner.expr),
        Expr::Try(inner) => root(&inner.expr),
        other => other,
    }
}

fn is_self(expression: &Expr) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident("self"))
}

/// Looks for `self` other than in `self.field`.
struct SelfSearch {
    found: bool,
}

impl VisitMut for SelfSearch {
    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        self.found |= is_self(expression);
        visit_mut::visit_expr_mut(self, expression);
    }

    fn visit_expr_field_mut(&mut self, field: &mut ExprField) {
        if !is_self(&field.base) {
            visit_mut::visit_expr_field_mut(self, field);
        }
    }
}

//! `#[abide::test]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Error, Expr, Ident, ItemFn, Result, ReturnType, Token, Type, parenthesized};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let function: ItemFn = syn::parse2(item)?;
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(signature.fn_token.span, "a test in a world is async: `async fn name(world: World)`"));
    }
    if signature.inputs.len() != 1 || !signature.generics.params.is_empty() {
        let message = "a test in a world takes the world alone: `async fn name(world: World)`";
        return Err(Error::new(signature.inputs.span(), message));
    }
    let (attributes, visibility, name) = (&function.attrs, &function.vis, &signature.ident);
    let (inputs, output, body) = (&signature.inputs, &signature.output, &function.block);
    let bind = &options.bind;
    let seed = options.seed.iter();
    let partitions = options.partitions.iter();
    let world = options.world.map_or_else(|| quote!(::abide::testing::World::builder()), |world| quote!(#world));
    let builder = quote!(#world #(.bind::<#bind>())* #(.seed(#seed))* #(.partitions(#partitions))*);
    let returned = match output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, returned) => quote!(#returned),
    };
    let test = quote!(async |world: ::abide::testing::World| {
        async fn test(#inputs) -> #returned #body
        ::abide::testing::TestOutcome::assert_success(test(world).await);
    });
    let run = if options.crashes {
        quote!(::abide::testing::crash_at_every_commit(|| #builder, #test))
    } else {
        quote!(#builder.run(#test))
    };
    Ok(quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() {
            #run
        }
    })
}

#[derive(Default)]
struct Options {
    bind: Vec<Type>,
    world: Option<Expr>,
    seed: Option<Expr>,
    partitions: Option<Expr>,
    crashes: bool,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            match name.to_string().as_str() {
                "bind" => {
                    let types;
                    parenthesized!(types in input);
                    options.bind.extend(Punctuated::<Type, Token![,]>::parse_terminated(&types)?);
                }
                "world" => options.world = Some(value(input)?),
                "seed" => options.seed = Some(value(input)?),
                "partitions" => options.partitions = Some(value(input)?),
                "crash_at_every_commit" => options.crashes = true,
                _ => {
                    let known = "`bind(Type, …)`, `world = builder`, `seed = n`, `partitions = n` and \
                                 `crash_at_every_commit`";
                    return Err(Error::new(name.span(), format!("unknown option; known are {known}")));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn value(input: ParseStream<'_>) -> Result<Expr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: TokenStream, item: TokenStream) -> String {
        expand(options, item).unwrap_err().to_string()
    }

    #[test]
    fn options_become_calls_of_the_builder() {
        let options = quote!(bind(Account, Mailer), world = bank(), seed = 7, crash_at_every_commit);
        let written = expand(
            options,
            quote!(
                async fn pays(world: World) {}
            ),
        )
        .unwrap()
        .to_string();
        let expected = quote!(bank().bind::<Account>().bind::<Mailer>().seed(7)).to_string();
        assert!(written.contains(&expected) && written.contains("crash_at_every_commit (||"), "{written}");
    }

    #[test]
    fn mistakes_are_named() {
        let test = quote!(
            async fn pays(world: World) {}
        );
        assert!(refused(quote!(binds(Account)), test).contains("known are `bind(Type, …)`"));
        assert!(
            refused(
                quote!(),
                quote!(
                    fn pays(world: World) {}
                )
            )
            .contains("is async")
        );
        assert!(
            refused(
                quote!(),
                quote!(
                    async fn pays() {}
                )
            )
            .contains("takes the world alone")
        );
    }
}

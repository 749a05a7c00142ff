use super::parser::{ReachKind, reaches};
use proptest::prelude::*;

#[track_caller]
fn escapes(template: &str) {
    let (reaches, _) = reaches(template);
    assert!(reaches.iter().any(|reach| matches!(reach.kind, ReachKind::Internals | ReachKind::ComputedName)), "{template} {reaches:?}");
}

#[track_caller]
fn harmless(template: &str) {
    assert_eq!(reaches(template), (vec![], None), "{template}");
}

#[test]
fn ways_out_of_the_sandbox() {
    for template in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ()|attr('__class__') }}",
        r#"{{ ()|attr("\x5f\x5fclass\x5f\x5f")|attr("\x5f\x5fbase\x5f\x5f") }}"#,
        r#"{{ ()|attr("\137\137class\137\137") }}"#,
        r#"{{ ()|attr("\u005f\u005fclass\u005f\u005f") }}"#,
        r#"{{ ()|attr("\N{LOW LINE}\N{LOW LINE}class__") }}"#,
        r#"{% set u = "__" %}{{ lipsum[u~"glo"~"bals"~u] }}"#,
        r#"{{ lipsum["__glo" "bals__"] }}"#,
        r#"{{ cycler.__init__.__globals__.os.popen('id').read() }}"#,
        "{{ self._TemplateReference__context.cycler }}",
        "{{ messages|map(attribute='__class__')|list }}",
        "{{ ()|attr(request.args.c) }}",
        r#"{{ lipsum['%c%c'|format(95,95)] }}"#,
        r#"{{ joiner["__slabolg__"|reverse] }}"#,
        "{% if ''.__class__ %}x{% endif %}",
        "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
        "{% macro m(a=().__class__) %}{% endmacro %}",
        "{{ {'a': ().__class__} }}",
        "{%- set x = namespace.__init__ -%}",
        "{{ x if y else ().__class__ }}",
    ] {
        escapes(template);
    }
}

#[test]
fn what_chat_templates_do() {
    for template in [
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}",
        "{% set ns = namespace(found=false) %}{% for m in messages[1:] %}{% if m.role == 'tool' and not ns.found %}{% set ns.found = true %}{% endif %}{% endfor %}",
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}",
        "{{ raise_exception('Conversation roles must alternate') }}",
        "{{ tools | selectattr('type', 'equalto', 'function') | map(attribute='function') | list | tojson(indent=4) }}",
        "{%- macro render(spec) -%}{%- if spec.type == 'array' -%}{{ spec['items'].type ~ '[]' }}{%- endif -%}{%- endmacro -%}",
        "{% generation %}{{ message['content'] }}{% endgeneration %}",
        "{{ strftime_now('%d %b %Y') }}{{ '}}' }}{# a comment with ''.__class__ #}",
        "{% raw %}{{ ''.__class__ }}{% endraw %}text with __class__ in it",
        "{% for key in params.keys() | sort %}{{ key ~ ': ' ~ params[key] }}{% endfor %}",
        "{{ content.split('</think>')[-1].lstrip('\\n') }}",
        "{{ {'role': 'user', 'content': 'x'}['role'] }}{{ 1.5 * 2 }}{{ messages[loop.index0 - 1].role }}",
        "{% call(x) m() %}{{ x }}{% endcall %}{% filter upper %}x{% endfilter %}{% break %}",
    ] {
        harmless(template);
    }
}

#[test]
fn files_and_engine_parts_are_noted() {
    assert_eq!(reaches("{% include '/etc/passwd' %}").0[0].kind, ReachKind::File);
    assert_eq!(reaches("{{ cycler('a').next }}{{ lipsum.x }}").0[0].kind, ReachKind::EngineGlobal);
}

#[test]
fn what_cannot_be_followed_says_so() {
    for template in ["{{ a", "{% if", "{# x", "{% raw %}x", "{{ (a }}", "{{ a. }}"] {
        assert!(reaches(template).1.is_some(), "{template}");
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(reaches(&deep).1.is_some());
    let long = format!("{{{{ {}'x' }}}}", "'x'~".repeat(100_000));
    assert_eq!(reaches(&long), (vec![], None));
}

proptest! {
    #[test]
    fn any_template_ends(template in r#"(\{\{|\{%|\{#|\}\}|%\}|#\}|[a-c_'"\\x()\[\]{}|~+.,:= ]|set |raw|attr|__class__){0,60}"#) {
        reaches(&template);
    }

    #[test]
    fn any_text_ends(template in "\\PC{0,80}") {
        reaches(&template);
    }
}

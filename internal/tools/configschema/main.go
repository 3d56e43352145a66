// Command configschema writes the JSON Schema of config.yaml, made from the structs
// and tags that the file is decoded into, the settings of every adapter included.
package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/config"
	"chatmux/normalize"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: configschema FILE")
		os.Exit(2)
	}
	if err := write(os.Args[1], all.Adapters()); err != nil {
		fmt.Fprintf(os.Stderr, "configschema: %v\n", err)
		os.Exit(1)
	}
}

func write(file string, specs []adapters.Spec) error {
	text, err := marshal(schema(specs))
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func marshal(s *jsonschema.Schema) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(s)
	return out.Bytes(), err
}

// forms are the values that many keys share. A variable may stand for every number
// and boolean.
func forms() jsonschema.Definitions {
	return jsonschema.Definitions{
		"variable": {Type: "string", Pattern: `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`},
		"duration": {OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`}, {Const: 0}, ref("variable"),
		}},
		"size": {OneOf: []*jsonschema.Schema{
			{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: `^[0-9]+ ?(B|KiB|MiB|GiB)?$`}, ref("variable"),
		}},
	}
}

func ref(definition string) *jsonschema.Schema {
	return &jsonschema.Schema{Ref: "#/$defs/" + definition}
}

func schema(specs []adapters.Spec) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		FieldNameTag:               "yaml",
		Mapper:                     mapped,
		Namer:                      name,
	}
	root := r.Reflect(&config.Config{})
	maps.Copy(root.Definitions, forms())
	root.Title = "config.yaml of chatmux"
	target := r.Reflect(&config.Target{})
	target.Version, target.Definitions = "", nil
	root.Definitions[name(reflect.TypeFor[config.Target]())] = target
	structs := map[reflect.Type]*jsonschema.Schema{}
	collect(structs, reflect.TypeFor[config.Config](), root, root.Definitions)
	collect(structs, reflect.TypeFor[config.Target](), target, nil)

	backend := root.Definitions[name(reflect.TypeFor[config.Backend]())]
	byAdapter := make([]*jsonschema.Schema, 0, len(specs))
	names := make([]any, 0, len(specs))
	for _, spec := range specs {
		prototype := spec.Settings()
		t := reflect.TypeOf(prototype).Elem()
		settings := r.Reflect(prototype)
		settings.Version = ""
		collect(structs, t, settings, settings.Definitions)
		defaults(settings, reflect.ValueOf(prototype).Elem())
		maps.Copy(root.Definitions, settings.Definitions)
		settings.Definitions = nil
		settings.Description = spec.Summary
		root.Definitions[spec.Name] = settings
		names = append(names, spec.Name)
		isAdapter := object("adapter", &jsonschema.Schema{Const: spec.Name})
		isAdapter.Required = []string{"adapter"}
		byAdapter = append(byAdapter, &jsonschema.Schema{If: isAdapter, Then: object("settings", ref(spec.Name))})
	}
	for t, s := range structs {
		describe(s, t)
	}
	if adapter, ok := backend.Properties.Get("adapter"); ok {
		adapter.Enum = names
	}
	backend.AllOf = byAdapter
	return root
}

// name names a struct's definition, so that the Settings of two adapters are two.
func name(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	return path.Base(t.PkgPath()) + "." + t.Name()
}

// object is a schema of one property.
func object(key string, value *jsonschema.Schema) *jsonschema.Schema {
	s := &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	s.Properties.Set(key, value)
	return s
}

// collect finds the schema of each struct in a type.
func collect(found map[reflect.Type]*jsonschema.Schema, t reflect.Type, s *jsonschema.Schema, defs jsonschema.Definitions) {
	if s == nil || found[t] != nil || t.Kind() != reflect.Struct {
		return
	}
	found[t] = s
	for _, f := range reflect.VisibleFields(t) {
		of := f.Type
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		collect(found, of, defs[name(of)], defs)
	}
}

// describe puts into a struct's schema what the tags of its fields say.
func describe(s *jsonschema.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		property, ok := s.Properties.Get(key)
		if key == "" || !ok {
			continue
		}
		if option == "required" {
			s.Required = append(s.Required, key)
		}
		property.Description = f.Tag.Get("doc")
		if text, ok := f.Tag.Lookup("default"); ok {
			property.Default = value(text, f.Type)
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			of := property
			if property.Items != nil {
				of = property.Items
			}
			for _, name := range strings.Split(enum, "|") {
				of.Enum = append(of.Enum, name)
			}
		}
		bounds(property, f)
	}
}

// bounds puts in the bounds of a number. Durations and sizes are texts, for which
// a schema has none.
func bounds(property *jsonschema.Schema, f reflect.StructField) {
	if len(property.OneOf) == 0 || f.Type.PkgPath() != "" {
		return
	}
	number := property.OneOf[0]
	number.Minimum = json.Number(f.Tag.Get("min"))
	number.Maximum = json.Number(f.Tag.Get("max"))
	number.ExclusiveMinimum = json.Number(f.Tag.Get("over"))
}

// defaults puts in what the struct of an adapter's settings holds from the start.
func defaults(s *jsonschema.Schema, v reflect.Value) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		property, ok := s.Properties.Get(key)
		if field := v.FieldByIndex(f.Index); ok && !field.IsZero() {
			property.Default = written(field)
		}
	}
}

// written is a value as a file would hold it, nil for a block.
func written(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return value.String()
	case encoding.TextMarshaler:
		text, err := value.MarshalText()
		if err != nil {
			return nil
		}
		return string(text)
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return v.Interface()
	default:
		return nil
	}
}

// value is a default tag's text in the type of its field.
func value(text string, t reflect.Type) any {
	switch {
	case t.PkgPath() != "":
		return text
	case t.Kind() == reflect.Bool:
		return text == "true"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return text
		}
		return n
	default:
		return text
	}
}

// mapped gives the schemas of the types that have a form of their own in the file.
func mapped(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern}
	}
	orVariable := func(s *jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{s, ref("variable")}}
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return ref("duration")
	case reflect.TypeFor[normalize.ByteSize]():
		return ref("size")
	case reflect.TypeFor[config.Rate]():
		return orVariable(text(`^[0-9]+/[sm]$`))
	case reflect.TypeFor[netip.Prefix]():
		return orVariable(text(`^[0-9A-Fa-f.:]+/[0-9]+$`))
	case reflect.TypeFor[config.Match]():
		return matchSchema()
	case reflect.TypeFor[config.Targets]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string"},
			{Type: "array", MinItems: new(uint64(1)), Items: ref(name(reflect.TypeFor[config.Target]()))},
		}}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return text("")
	}
	switch t.Kind() {
	case reflect.Bool:
		return orVariable(&jsonschema.Schema{Type: "boolean"})
	case reflect.Int, reflect.Int64:
		return orVariable(&jsonschema.Schema{Type: "integer"})
	case reflect.Float64:
		return orVariable(&jsonschema.Schema{Type: "number"})
	case reflect.Interface:
		return &jsonschema.Schema{Type: "object"}
	}
	return nil
}

// matchSchema is the schema of a route's match: known keys, and two families.
func matchSchema() *jsonschema.Schema {
	scalar := []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}
	patterns := &jsonschema.Schema{OneOf: append(scalar, &jsonschema.Schema{
		Type: "array", MinItems: new(uint64(1)), Items: &jsonschema.Schema{OneOf: scalar},
	})}
	s := &jsonschema.Schema{
		Type:                 "object",
		Properties:           jsonschema.NewProperties(),
		PatternProperties:    map[string]*jsonschema.Schema{`^metadata\..+$`: patterns, `^[Hh][Ee][Aa][Dd][Ee][Rr]\..+$`: patterns},
		AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, key := range config.MatchKeys {
		s.Properties.Set(key, patterns)
	}
	return s
}

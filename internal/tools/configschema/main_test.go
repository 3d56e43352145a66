package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"chatmux/adapters/all"
	"chatmux/internal/config"
)

const committed = "../../../docs/config.schema.json"

func TestCommittedSchemaIsCurrent(t *testing.T) {
	want, err := marshal(schema(all.Adapters()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the structs say: run make generate", committed)
	}
}

func TestShippedConfigFitsItsSchema(t *testing.T) {
	text, err := os.ReadFile("../../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, string(text)); err != nil {
		t.Error(err)
	}
}

// TestSchemaAgreesWithTheLoader holds the two readings of a file against each
// other: what the loader takes the schema must take, and what only the structs and
// their tags say the schema must refuse too.
func TestSchemaAgreesWithTheLoader(t *testing.T) {
	settings := make(map[string]func() any)
	for _, spec := range all.Adapters() {
		settings[spec.Name] = func() any { return spec.Settings() }
	}
	const backends = `
backends:
  - name: echo
    adapter: echo
`
	const routes = `
routes:
  - name: default
    to: echo
`
	const settingsBlock = `
backends:
  - {name: echo, adapter: echo}
  - name: desk
    adapter: altur
    settings: {base_url: sandbox, api_key: k, agent_id: 7b0f4a52-3c0e-4c0a-9a55-0f6f0c1d2e30, `
	for _, tt := range []struct {
		text string
		good bool
	}{
		{backends + routes, true},
		{"listem: x" + backends + routes, false},
		{"limits: {in_flight: 3, timeout: 1m30s, body: 2MiB, retention: 0, drain: {delay: 0s}}" + backends + routes, true},
		{"limits: {body: 100}" + backends + routes, true},
		{"limits: {in_flight: '${N:-3}', timeout: '${T:-3s}', body: '${B:-1KiB}'}" + backends + routes, true},
		{"limits: {in_flight: many}" + backends + routes, false},
		{"limits: {in_flight: 0}" + backends + routes, false},
		{"limits: {timeout: 60}" + backends + routes, false},
		{"limits: {timeout: -1s}" + backends + routes, false},
		{"limits: {body: big}" + backends + routes, false},
		{"log: {level: debug}" + backends + routes, true},
		{"log: {level: loud}" + backends + routes, false},
		{"outbound: {allow_cidrs: [10.0.0.0/8, 'fd00::/8']}" + backends + routes, true},
		{"outbound: {allow_cidrs: [10.0.0.0]}" + backends + routes, false},
		{"callers: [{name: a, key: k, rate: 50/s, in_flight: 3, routes: [default]}]" + backends + routes, true},
		{"callers: [{name: a, key: k, rate: 50}]" + backends + routes, false},
		{"callers: [{key: k}]" + backends + routes, false},
		{backends, false},
		{routes, false},
		{backends + "    retry: {attempts: 3}\n    breaker: {ratio: 0.25}" + routes, true},
		{backends + "    retry: {attempts: 4}" + routes, false},
		{backends + "    breaker: {ratio: 1.5}" + routes, false},
		{backends + "    settings: {loud: true}" + routes, false},
		{"backends: [{name: echo, adapter: ecko}]" + routes, false},
		{"backends: [{name: echo}]" + routes, false},
		{settingsBlock + "shape: chatbot}" + routes, true},
		{settingsBlock + "shap: chatbot}" + routes, false},
		{settingsBlock + "shape: {}}" + routes, false},
		{backends + "routes: [{name: a, match: {caller: 'w*', bot: [b, c], metadata.x: 1, header.X-Y: true}, to: echo}, {name: default, to: echo}]", true},
		{backends + "routes: [{name: a, match: {user.mail: x}, to: echo}, {name: default, to: echo}]", false},
		{backends + "routes: [{name: a, match: {bot: []}, to: echo}, {name: default, to: echo}]", false},
		{backends + "routes: [{name: default, to: [{backend: echo, weight: 1}]}]", true},
		{backends + "routes: [{name: default, to: [{backend: echo}]}]", false},
		{backends + "routes: [{name: default, to: [{backend: echo, weight: -1}]}]", false},
		{backends + "routes: [{name: default, to: [echo]}]", false},
		{backends + "routes: [{name: default, to: []}]", false},
		{backends + "routes: [{name: default}]", false},
		{backends + "routes: [{name: default, to: echo, on_disconnect: cancel, fallback_on_unknown: true}]", true},
		{backends + "routes: [{name: default, to: echo, on_disconnect: stop}]", false},
		{backends + "routes: [{name: default, to: echo, fallback_on_unknown: perhaps}]", false},
		{backends + routes + "webhooks: [{name: a, url: 'https://a.example', secret: whsec_aGVsbG8=, events: [thread.moved]}]", true},
		{backends + routes + "webhooks: [{name: a, url: 'https://a.example', secret: whsec_aGVsbG8=, events: [thread.move]}]", false},
	} {
		_, loadErr := config.Parse("config.yaml", []byte(tt.text), config.Options{Settings: settings})
		schemaErr := validate(t, tt.text)
		if good := loadErr == nil; good != tt.good {
			t.Errorf("the loader says %v of\n%s", loadErr, tt.text)
		}
		if good := schemaErr == nil; good != tt.good {
			t.Errorf("the schema says %v of\n%s", schemaErr, tt.text)
		}
	}
}

// validate checks a YAML text against the schema as it is generated now.
func validate(t *testing.T, text string) error {
	t.Helper()
	generated, err := marshal(schema(all.Adapters()))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(generated))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Load([]byte(strings.TrimSpace(text)), &value); err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(value)
}

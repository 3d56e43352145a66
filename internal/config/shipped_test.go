package config_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"chatmux/adapters"
	"chatmux/adapters/all"
	"chatmux/internal/config"
)

func linked() config.Options {
	settings := make(map[string]func() any)
	for _, spec := range all.Adapters() {
		settings[spec.Name] = func() any { return spec.Settings() }
	}
	return config.Options{Settings: settings, Getenv: func(string) (string, bool) { return "", false }}
}

func TestShippedConfigNeedsNoAccount(t *testing.T) {
	c, err := config.Load("../../config.yaml", linked())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Callers) != 0 || c.Listen != "127.0.0.1:8080" {
		t.Errorf("it listens on %s for %d callers, want loopback and everybody", c.Listen, len(c.Callers))
	}
	used := make(map[string]bool)
	for _, b := range c.Backends {
		used[b.Adapter] = true
	}
	for _, spec := range all.Adapters() {
		_, remote := spec.Settings().(adapters.Remote)
		if remote && spec.Twin == nil {
			continue // it needs a vendor, and there is no simulated one
		}
		if !used[spec.Name] {
			t.Errorf("no backend shows the adapter %s", spec.Name)
		}
	}
}

// TestEveryKeyIsDocumented looks for each key of the file, the adapters' settings
// included, in the pages about it.
func TestEveryKeyIsDocumented(t *testing.T) {
	page := string(read(t, "../../docs/configuration.md")) + string(read(t, "../../docs/rest-adapter.md"))
	var look func(reflect.Type)
	look = func(v reflect.Type) {
		switch v.Kind() {
		case reflect.Slice, reflect.Pointer, reflect.Map:
			look(v.Elem())
		case reflect.Struct:
			for _, f := range reflect.VisibleFields(v) {
				key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				if key == "" {
					continue
				}
				named := regexp.MustCompile("[`.{ ]" + key + "[`.},]|### " + key + "\n")
				if !named.MatchString(page) {
					t.Errorf("%s of %s is in neither docs/configuration.md nor docs/rest-adapter.md", key, v)
				}
				if f.Tag.Get("doc") == "" {
					t.Errorf("%s of %s has no doc tag", key, v)
				}
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[config.Config]())
	for _, spec := range all.Adapters() {
		look(reflect.TypeOf(spec.Settings()))
	}
}

package adaptertest

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"chatmux/adapters"
	"chatmux/normalize"
)

var specCases = []promise{
	{
		name:    "spec_is_complete",
		promise: "the Spec has a name of lower-case letters, a summary, and makes new settings each time",
		because: "the name is what the config says, and two backends must not share one settings struct",
		offline: true,
		test: func(b *bench) error {
			s := b.Spec
			switch {
			case !regexp.MustCompile(`^[a-z][a-z0-9_-]*$`).MatchString(s.Name):
				return fmt.Errorf("the name is %q", s.Name)
			case s.Summary == "" || strings.Contains(s.Summary, "\n"):
				return fmt.Errorf("the summary is %q, want one line", s.Summary)
			case s.Settings == nil || s.Open == nil:
				return fmt.Errorf("Settings or Open is nil")
			}
			one, two := reflect.ValueOf(s.Settings()), reflect.ValueOf(s.Settings())
			if one.Kind() != reflect.Pointer || one.Elem().Kind() != reflect.Struct {
				return fmt.Errorf("Settings gives a %s, want a pointer to a struct", one.Type())
			}
			if one.Elem().NumField() > 0 && one.Pointer() == two.Pointer() {
				return fmt.Errorf("Settings gives the same struct twice")
			}
			return nil
		},
	},
	{
		name:    "settings_say_what_they_are_for",
		promise: "every field of the settings has a yaml name and a doc sentence",
		because: "the config loader, the JSON Schema and the manual are made of them",
		offline: true,
		test:    func(b *bench) error { return checkTags(reflect.TypeOf(b.Spec.Settings()).Elem(), "") },
	},
	{
		name:    "settings_are_checked",
		promise: "settings without the address or the key's account are refused by Check, complete ones are not",
		because: "a mistake must show when the config is read, with its place, and not at the first message",
		test: func(b *bench) error {
			checker, ok := b.Spec.Settings().(adapters.Checker)
			if !ok {
				return fmt.Errorf("the settings have no Check, so that a missing base_url is accepted")
			}
			if len(reports(checker)) == 0 {
				return fmt.Errorf("Check accepts settings in which nothing is filled in")
			}
			settings := b.Settings()
			remote, ok := settings.(adapters.Remote)
			if !ok {
				return fmt.Errorf("the settings do not implement adapters.Remote")
			}
			*remote.Endpoint() = adapters.BaseURL(b.twinURL())
			if list := reports(settings.(adapters.Checker)); len(list) > 0 {
				return fmt.Errorf("Check refuses good settings: %q", list)
			}
			return nil
		},
	},
	{
		name:    "twin_refuses_a_wrong_key",
		promise: "a wrong key is refused, and the failure is unauthorized",
		because: "a twin that takes any key would let every mistake in the auth header pass",
		test: func(b *bench) error {
			settings := b.Settings()
			*settings.(adapters.Remote).Endpoint() = adapters.BaseURL(b.twinURL())
			if replaceSecrets(reflect.ValueOf(settings).Elem()) == 0 {
				return fmt.Errorf("the settings hold no normalize.Secret")
			}
			wrong, err := b.open(settings, roomy)
			if err != nil {
				return err
			}
			c, err := b.begin(context.Background())
			if err != nil {
				return err
			}
			reply, err := wrong.Send(context.Background(), b.turn(c, "hello"))
			return answered(normalize.KindUnauthorized).check(reply, err)
		},
	},
}

func reports(c adapters.Checker) []string {
	var list []string
	c.Check(func(field, problem string) { list = append(list, field+": "+problem) })
	return list
}

// checkTags looks at the fields of a settings struct, and of those nested in it.
func checkTags(t reflect.Type, path string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if f.Anonymous && strings.HasSuffix(name, ",inline") {
			if err := checkTags(f.Type, path); err != nil {
				return err
			}
			continue
		}
		if name == "" || f.Tag.Get("doc") == "" {
			return fmt.Errorf("field %s%s has no yaml or no doc tag", path, f.Name)
		}
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[normalize.Secret]() {
			if err := checkTags(f.Type, path+f.Name+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceSecrets writes another value into every secret, and counts them.
func replaceSecrets(v reflect.Value) int {
	n := 0
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.Type() == reflect.TypeFor[normalize.Secret]():
			f.Set(reflect.ValueOf(normalize.NewSecret("a-wrong-key-altogether")))
			n++
		case f.Kind() == reflect.Struct:
			n += replaceSecrets(f)
		}
	}
	return n
}

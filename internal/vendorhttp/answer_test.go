package vendorhttp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)

func TestOnlyTheWholeShapeIsAnAnswer(t *testing.T) {
	deep := strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000)
	tests := []struct {
		body          string
		object, array bool
	}{
		{`{}`, true, false},
		{" \r\n\t{\"a\": [1, null]} \n", true, false},
		{`[]`, false, true},
		{"\n[{}]", false, true},
		{``, false, false},
		{" \n", false, false},
		{`null`, false, false},
		{`"text"`, false, false},
		{`42`, false, false},
		{`{"a":1`, false, false},
		{`{"a":1}}`, false, false},
		{`{"a":1}{"b":2}`, false, false},
		{`{a:1}`, false, false},
		{`{"a":1,}`, false, false},
		{"\ufeff{}", false, false},
		{"<!doctype html><p>Sorry", false, false},
		{"\n<html>", false, false},
		{`{"a":"` + "\x00" + `"}`, false, false},
		{deep, false, false},
		{`{"a":` + deep + `}`, false, false},
	}
	for _, tt := range tests {
		a := vendorhttp.Answer{Status: 200, Body: []byte(tt.body)}
		for name, check := range map[string]struct {
			err  error
			good bool
		}{"object": {a.Object(), tt.object}, "array": {a.Array(), tt.array}} {
			if check.good {
				if check.err != nil {
					t.Errorf("%.40q is no %s: %v", tt.body, name, check.err)
				}
				continue
			}
			e := normalize.AsError(check.err)
			if e == nil {
				t.Errorf("%.40q is taken for an %s", tt.body, name)
				continue
			}
			if e.Kind != normalize.KindInvalidReply || e.Phase != normalize.PhaseStatus || e.VendorStatus != 200 || strings.Contains(e.Text(), "Sorry") {
				t.Errorf("%.40q as %s: %v in %v, status %d: %s", tt.body, name, e.Kind, e.Phase, e.VendorStatus, e.Text())
			}
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 15, 0, 0, time.UTC)
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"7", 7 * time.Second, true},
		{"0", 0, true},
		{" 7 ", 7 * time.Second, true},
		{"-5", 0, true},
		{"2147483647", 2147483647 * time.Second, true},
		{"Wed, 04 Mar 2026 10:15:20 GMT", 20 * time.Second, true},
		{"Wednesday, 04-Mar-26 10:15:20 GMT", 20 * time.Second, true},
		{"Wed Mar  4 10:15:20 2026", 20 * time.Second, true},
		{"Wed, 04 Mar 2026 10:14:00 GMT", 0, true},
		{"", 0, false},
		{" ", 0, false},
		{"soon", 0, false},
		{"1.5", 0, false},
		{"7s", 0, false},
		{"2147483648", 0, false},
		{"99999999999999999999", 0, false},
		{"2026-03-04T10:15:20Z", 0, false},
	}
	for _, tt := range tests {
		if got, ok := vendorhttp.ParseRetryAfter(tt.in, now); got != tt.want || ok != tt.ok {
			t.Errorf("%q is %v, %v, want %v, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, seed := range []string{
		"7", "-1", "soon", "2147483648",
		"Wed, 04 Mar 2026 10:15:20 GMT", "Sun, 06 Nov 0001 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 4, 10, 15, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		got, ok := vendorhttp.ParseRetryAfter(value, now)
		if got < 0 || !ok && got != 0 {
			t.Errorf("%q is %v, %v", value, got, ok)
		}
		if at, err := http.ParseTime(strings.TrimSpace(value)); err == nil && !ok {
			t.Errorf("the date %v is not taken", at)
		}
	})
}

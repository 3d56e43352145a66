package all_test

import (
	"testing"

	"chatmux/adapters/all"
)

func TestEveryAdapterHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, spec := range all.Adapters() {
		if spec.Name == "" || seen[spec.Name] {
			t.Errorf("the name %q is empty or given twice: a config could not say which adapter it means", spec.Name)
		}
		seen[spec.Name] = true
	}
}

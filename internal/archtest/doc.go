// Package archtest holds the rules of the house as tests: which room may know
// which, the one home of each library, what names are taken, and what no exported
// name may mention. A rule that is broken fails with the place and the reason.
// There is nothing here to import.
package archtest

// Registers, logs in, spends and prints what it saw.
import {
    BalancesApi, Configuration, PackagesApi, ProblemDocumentFromJSON, ResponseError, SessionsApi, SpendingApi,
    TransactionsApi, UsersApi,
} from './client';

declare const process: { argv: string[] };

async function main(basePath: string, email: string): Promise<void> {
    const password = 'correct horse battery';
    await new UsersApi(new Configuration({ basePath })).registerUser({ register: { email, password } });
    const session = await new SessionsApi(new Configuration({ basePath })).logIn({ login: { email, password } });
    const signedIn = new Configuration({ basePath, accessToken: session.accessToken });

    const before = (await new BalancesApi(signedIn).getBalance()).freeCreditsRemaining;
    const spending = new SpendingApi(signedIn);
    const useCredits = { amount: 10, appId: 'tests', description: 'a test', metadata: { language: 'TypeScript' } };
    await spending.useCredits({ useCredits, idempotencyKey: 'once' });
    const used = await spending.useCredits({ useCredits, idempotencyKey: 'once' });
    const rows = await new TransactionsApi(signedIn).listTransactions({ limit: 5 });
    await new PackagesApi(signedIn).listPackages();
    try {
        await spending.useCredits({ useCredits: { ...useCredits, amount: 1_000_000_000 }, idempotencyKey: 'too much' });
    } catch (error) {
        if (!(error instanceof ResponseError)) throw error;
        const problem = ProblemDocumentFromJSON(await error.response.json());
        console.log(before, used.newBalance.freeCreditsRemaining, rows.length, problem.code);
    }
}

main(process.argv[2]!, process.argv[3]!);

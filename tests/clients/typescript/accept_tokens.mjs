// Prints the subject of each access token that oauth4webapi accepts (RFC 9068).
import { allowInsecureRequests, validateJwtAccessToken } from 'oauth4webapi';

const [jwks_uri, issuer, audience, ...tokens] = process.argv.slice(2);
for (const token of tokens) {
    const request = new Request('http://localhost', { headers: { authorization: `Bearer ${token}` } });
    const options = { [allowInsecureRequests]: true };
    try {
        console.log((await validateJwtAccessToken({ issuer, jwks_uri }, request, audience, options)).sub);
    } catch (error) {
        console.log(`refused: ${error.message}`);
    }
}
